"""The section ``workflow`` of a configuration: its jobs, and what they say against each other.

How jobs become tasks is the business of ``instances.py``.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Tag

from mpiexec_runner.config.checks import Problems, problems_of_fields, problems_of_site, suggestion
from mpiexec_runner.config.graph import in_order
from mpiexec_runner.config.handing import STAGES
from mpiexec_runner.config.job import JobEntry
from mpiexec_runner.config.links import is_reference, jobs_of, lifted, links_of, parameters_of, stages_of
from mpiexec_runner.config.parameters import Parameter
from mpiexec_runner.config.values import KeyPath, refuse_any
from mpiexec_runner.execute.bindings import EVERY, WORDS, references_in

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,89}")
_NUMBERED = re.compile(r".*-\d+")


def problems_of_workflow(workflow: Mapping[str, Any]) -> Problems:
    """Yield what the jobs of a workflow say against each other."""
    for name, job in workflow.items():
        if (name == STAGES) != isinstance(job, list):
            yield (
                (name,),
                "must be a list of names"
                if name == STAGES
                else "must be a job: a mapping of keys to values. Only stages is a list",
            )
            return
    jobs, stages = jobs_of(workflow), stages_of(workflow)
    if not jobs:
        yield (), "has no job"
        return
    for stage in sorted({stage for stage in stages if stages.count(stage) > 1}):
        yield (STAGES,), f"{stage!r} is there twice"
    links = links_of(jobs, stages)
    problems = [problem for name in jobs for problem in _problems_of_links(name, jobs, stages)]
    yield from problems
    _, cycles = in_order({name: link.after for name, link in links.items()})
    for cycle in cycles:
        path = " -> ".join([*cycle, cycle[0]])
        yield (
            (cycle[0], "depends_on"),
            f"the jobs wait for each other in a circle: {path}. Each waits for the next; remove one link",
        )
    if not problems and not cycles:
        names = parameters_of(jobs, links)
        for name, job in jobs.items():
            yield from _problems_of_values(name, job, names[name])


def _problems_of_links(name: str, jobs: Mapping[str, JobEntry], stages: list[str]) -> Problems:
    """Yield what is wrong with a job's name and with the names that it uses."""
    job = jobs[name]
    if not _NAME.fullmatch(name) or _NUMBERED.fullmatch(name) or re.fullmatch(r"task_\d+", name):
        told = (
            f"{name!r} cannot name a job: use 1 to 90 letters, digits, _ and -, a letter first; no -1 or the "
            "like at the end (instances are numbered so), nor task_1"
        )
        yield (name,), told
    known = f"Jobs are {', '.join(jobs)}."
    for index, other in enumerate(job.depends_on):
        if other not in jobs:
            path: KeyPath = (name, "depends_on", index)
            yield path, f"there is no job {other!r}. {known}{suggestion(other, jobs)}"
    if job.stage is not None and job.stage not in stages:
        told = f"Stages are {', '.join(stages)}" if stages else "List the stages of the workflow under stages"
        yield (name, "stage"), f"there is no stage {job.stage!r}. {told}.{suggestion(job.stage, stages)}"
    for key, part in (("with", job.with_), ("args", job.args), ("command", job.command)):
        for found in references_in(part):
            if not is_reference(found, jobs):
                continue
            if found.name not in jobs:
                yield (
                    (name, key),
                    f"{found.text}: there is no job {found.name!r}. {known}" + suggestion(found.name, jobs),
                )
            elif not found.word or (found.path and found.word != "result"):
                wrong = ".".join([found.word, *found.path]).strip(".")
                told = (
                    f"{found.name} is a job, after which there may stand {', '.join(WORDS)} or {EVERY}.WORD, "
                    f"and keys after result only: not {wrong!r}"
                )
                yield (name, key), told
    for key, part in (("for_each", _texts(job.for_each)), ("environment", job.environment)):
        if any(is_reference(found, jobs) for found in references_in(part)):
            yield (name, key), "what other jobs left can be used in with, args and command only"


def _texts(parameters: Mapping[str, Parameter]) -> list[object]:
    return [given for given in parameters.values() if isinstance(given, str | list)]


def _problems_of_values(name: str, job: JobEntry, parameters: tuple[str, ...]) -> Problems:
    """Yield the fields that nothing fills, now that it is known what the job inherits."""
    values = list(dict.fromkeys([*job.with_, *parameters]))
    source = "with and for_each give" if values else "with gives"
    command = job.command
    if command is not None:
        command, fields = lifted(command, {*values})
        values += fields
    for path, problem in problems_of_fields(command, values, source):
        yield (name, *path), problem
    for path, problem in problems_of_site(job.site, values, source):
        yield (name, *path), problem


def _form(value: Any) -> str:
    """Say which form the value of a key has, so that errors speak of that form only."""
    return "<stages>" if isinstance(value, list | tuple) else "<JobEntry>"


def _consistent(workflow: dict[str, Any]) -> dict[str, Any]:
    refuse_any(problems_of_workflow(workflow))
    return workflow


Workflow = Annotated[
    dict[
        str,
        Annotated[
            Annotated[JobEntry, Tag("<JobEntry>")] | Annotated[list[str], Tag("<stages>")],
            Discriminator(_form),
        ],
    ],
    AfterValidator(_consistent),
]
