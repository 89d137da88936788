"""Tasks that a running task adds to its run, checked and turned into specifications.

Knows what a task of a list may say and the records of ``model``; not how additions reach the hub.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from mpiexec_runner.config.checks import suggestion
from mpiexec_runner.config.handing import equip
from mpiexec_runner.config.instances import WHEN
from mpiexec_runner.config.items import raw_tool
from mpiexec_runner.config.job import Names
from mpiexec_runner.config.kinds import Kinds, encode, work_content
from mpiexec_runner.config.links import lifted
from mpiexec_runner.config.problems import problems_of
from mpiexec_runner.config.sections import TaskEntry, ToolSettings
from mpiexec_runner.errors import ConfigError
from mpiexec_runner.execute.bindings import job_of, references_in
from mpiexec_runner.model.settings import shown
from mpiexec_runner.model.tasks import PlainArguments, TaskKind, TaskSpec

_NO_TOOLS: Mapping[str, ToolSettings] = {}
_MOST_PROBLEMS = 20


class AddedTask(TaskEntry):
    """One task that another one added: as in a list, and what it waits for."""

    depends_on: Names = Field([])
    """Names of tasks, or of jobs, that it waits for: of the run, or added before it."""
    when: Literal["success", "any", "failure"] = "success"
    """Which ends of those let it begin."""


class Additions(NamedTuple):
    """Kinds that the run does not have yet, and the tasks."""

    kinds: tuple[TaskKind, ...]
    tasks: list[TaskSpec]


def expand_additions(
    entries: object,
    parent: TaskSpec,
    names: Mapping[str, int],
    next_id: int,
    kinds: Sequence[TaskKind],
    tools: Mapping[str, ToolSettings] = _NO_TOOLS,
) -> Additions:
    """Return the tasks that a task wants added.

    Parameters
    ----------
    entries
        What it gave: a list of mappings, each with the keys of a task in a list, ``depends_on`` and ``when``.
    parent
        The task that adds them. They may refer to it, as to any task by its name.
    names
        The ids of the tasks of the run that have names of their own.
    next_id
        The number of the first added task; the others follow.
    kinds
        Those that the run has.
    tools
        Those of the configuration.

    Raises
    ------
    ConfigError
        With all that is wrong. Then none of them is to be added.
    """
    who = parent.name or f"task {parent.id}"
    if not isinstance(entries, list | tuple):
        raise ConfigError([f"{who} adds {shown(entries)}. It must be a list of mappings, one for each task"])
    adding = _Adding(who, parent, names, next_id, kinds)
    raw_tools = {name: raw_tool(tool) for name, tool in tools.items()}
    for index, entry in enumerate(entries):
        adding.add(index, entry, raw_tools)
    if adding.problems:
        raise ConfigError(adding.problems[:_MOST_PROBLEMS])
    return Additions(adding.kinds.records(), adding.tasks)


class _Adding:
    def __init__(
        self, who: str, parent: TaskSpec, names: Mapping[str, int], next_id: int, kinds: Sequence[TaskKind]
    ) -> None:
        self._who, self._parent, self._next_id = who, parent, next_id
        self._names = dict(names)
        self._digests: dict[int, bytes] = {}
        self.kinds = Kinds(kinds)
        self.tasks: list[TaskSpec] = []
        self.problems: list[str] = []

    def add(self, index: int, written: object, tools: Mapping[str, dict[str, Any]]) -> None:
        """Make one task, or note what is wrong with it."""
        entry = self._checked(index, written, tools)
        if entry is None:
            return
        number = self._next_id + len(self.tasks)
        waits = {
            id_ for name in entry.depends_on for id_ in self._members(index, "depends_on", name, whole=True)
        }
        uses = self._used(index, entry)
        if entry.id is not None and self._names.setdefault(entry.id, number) != number:
            self._say(index, f"id: {entry.id!r} is already the name of a task of this run")
        command, auto = (None, {}) if entry.command is None else lifted(entry.command, {*entry.with_})
        kind, treatment = self.kinds.of(entry, entry.call, entry.command, shared=False)
        args, fields = tuple(entry.args), {**entry.with_, **auto}
        after = tuple(sorted(waits | uses))
        content = work_content(entry.call, entry.command)
        # Never compared with a configuration: that it is its parent's is enough to tell it from others.
        upstream = (self._parent.digest, entry.when, [self._digests.get(id_, id_) for id_ in after])
        self._digests[number] = digest = treatment.digest(content, args, fields, upstream)
        self.tasks.append(
            TaskSpec(
                id=number,
                kind=kind,
                payload=encode(PlainArguments(args, fields, tuple(auto))),
                name=entry.id or "",
                digest=digest,
                command=command,
                after=after,
                when=WHEN[entry.when],
                uses=tuple(sorted(uses)),
                site=treatment.site(fields),
                parent=self._parent.id,
            )
        )

    def _checked(self, index: int, written: object, tools: Mapping[str, dict[str, Any]]) -> AddedTask | None:
        if not isinstance(written, dict):
            self._say(index, f"must be a mapping with the keys of a task, not {shown(written)}")
            return None
        try:
            return AddedTask.model_validate(equip(written, tools, {}, ""))
        except ValidationError as error:
            for path, problem in problems_of(error, AddedTask):
                self._say(index, f"{'.'.join(map(str, path))}: {problem}" if path else problem)
            return None

    def _used(self, index: int, entry: AddedTask) -> set[int]:
        """Return the tasks that an entry refers to: by their names, or all instances of a job."""
        used: set[int] = set()
        for part in (entry.with_, entry.args, entry.command):
            for found in references_in(part):
                if not found.word:
                    continue  # braces that stand for themselves
                if found.path and found.word != "result":
                    self._say(
                        index, f"{found.text}: only after result may keys follow, not after {found.word}"
                    )
                used.update(self._members(index, found.text, found.name, whole=found.every))
        return used

    def _members(self, index: int, where: str, name: str, *, whole: bool) -> list[int]:
        """Return the task of this name or, with ``whole``, all instances of the job of this name."""
        members = [self._names[name]] if name in self._names else []
        if whole and not members:
            members = [id_ for other, id_ in self._names.items() if job_of(other) == name]
        if not members:
            guess = suggestion(name, self._names)
            self._say(index, f"{where}: there is no task of that name: {name!r}.{guess}".removesuffix("."))
        return members

    def _say(self, index: int, problem: str) -> None:
        self.problems.append(f"{self._who} adds a task (entry {index}): {problem}")
