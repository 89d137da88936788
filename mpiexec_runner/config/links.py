"""How the jobs of a workflow hang together: what each waits for, what it refers to, what it inherits.

Knows jobs, not tasks: how often a job runs is worked out in ``instances.py``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mpiexec_runner.config.graph import in_order
from mpiexec_runner.config.handing import STAGES
from mpiexec_runner.config.job import JobEntry
from mpiexec_runner.execute.bindings import EVERY, Reference, references_in, replace_references


def jobs_of(workflow: Mapping[str, Any]) -> dict[str, JobEntry]:
    """Return the jobs among the keys of a workflow."""
    return {name: job for name, job in workflow.items() if isinstance(job, JobEntry)}


def stages_of(workflow: Mapping[str, Any]) -> list[str]:
    """Return the names of the stages, first to last."""
    return list(workflow.get(STAGES, []))


class Links(NamedTuple):
    """How a job hangs together with others.

    Attributes
    ----------
    after
        All that it depends on, in the order of the file.
    one
        Those of which it refers to a single value: it runs once for each of their instances.
    every
        Those of which it refers to all values.
    whole
        Those of which it waits for all instances.
    """

    after: tuple[str, ...]
    one: tuple[str, ...]
    every: tuple[str, ...]
    whole: tuple[str, ...]


def is_reference(found: Reference, jobs: Mapping[str, JobEntry]) -> bool:
    """Whether braces are meant as a reference; others stand for themselves, as in the commands of a list."""
    return found.name in jobs or bool(found.word)


def _references(job: JobEntry, jobs: Mapping[str, JobEntry]) -> Iterator[Reference]:
    """Yield what a job refers to, in its values, arguments and command."""
    for part in (job.with_, job.args, job.command):
        yield from (found for found in references_in(part) if is_reference(found, jobs))


def links_of(jobs: Mapping[str, JobEntry], stages: list[str]) -> dict[str, Links]:
    """Return the links of every job, of names that are jobs."""
    members: dict[str, list[str]] = {stage: [] for stage in stages}
    for name, job in jobs.items():
        if job.stage is not None:
            members.setdefault(job.stage, []).append(name)
    found = {}
    for name, job in jobs.items():
        references = [item for item in _references(job, jobs) if item.name in jobs]
        before = []
        if job.stage in stages:
            earlier = [members[stage] for stage in stages[: stages.index(job.stage)]]
            before = next((there for there in reversed(earlier) if there), [])
        one = dict.fromkeys(item.name for item in references if not item.every)
        every = dict.fromkeys(item.name for item in references if item.every)
        whole = {*before, *every, *(other for other in job.depends_on if other not in one)}
        found[name] = Links(
            tuple(other for other in jobs if other in whole or other in one),
            tuple(one),
            tuple(every),
            tuple(other for other in jobs if other in whole),
        )
    return found


def parameters_of(jobs: Mapping[str, JobEntry], links: Mapping[str, Links]) -> dict[str, tuple[str, ...]]:
    """Return the names of the parameters over which each job is fanned out, its own ones last.

    A job inherits those of the jobs of which it refers to a single value.
    """
    names: dict[str, tuple[str, ...]] = {}
    for name in in_order({job: link.after for job, link in links.items()})[0]:
        inherited = [parameter for other in links[name].one for parameter in names[other]]
        names[name] = tuple(dict.fromkeys([*inherited, *jobs[name].for_each]))
    return names


def lifted(command: str | tuple[str, ...], taken: set[str]) -> tuple[str | tuple[str, ...], dict[str, str]]:
    """Return a command with a field in the place of each reference, and the fields' values.

    So the values are quoted for the place in which they stand, as all others are. ``taken`` are names of
    fields that are in use.
    """
    fields: dict[str, str] = {}

    def lift(found: Reference, text: str) -> str:
        if not found.word:
            return text
        name = next((name for name, value in fields.items() if value == found.text), "")
        if not name:
            parts = [found.name, *([EVERY] if found.every else []), found.word, *found.path]
            name = re.sub(r"\W|^(?=\d)", "_", "_".join(parts))
            while name in taken or name in fields:
                name += "_"
            fields[name] = found.text
        return "{" + name + (":*}" if found.every else "}")

    return replace_references(command, lift), fields
