"""What tasks of a configuration have in common (their kinds), and what identifies each (its digest).

Knows settings and the records of ``model``; not which section a task was written in.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

from mpiexec_runner.config.treatment import RetrySettings, TaskSettings
from mpiexec_runner.execute.template import render
from mpiexec_runner.model.tasks import (
    CallByName,
    CommandLine,
    FailureRule,
    Needs,
    RetryRule,
    TaskKind,
    TaskSpec,
    Work,
)

encode = msgspec.msgpack.Encoder().encode
Command = str | tuple[str, ...]
Content = tuple[str, Command | None]


@dataclass(frozen=True, slots=True)
class Workload:
    """What a configuration asks for; the tasks that one depends on come before it."""

    kinds: tuple[TaskKind, ...]
    tasks: list[TaskSpec]
    duplicates: int = 0
    """Points of a sweep left out because another one has the same values."""


class Treatment:
    """What the settings of tasks make of their kind, their digests and their site.

    A digest covers what a task does and with what, not how it is scheduled: a new priority, time limit or
    name does not make it another task. It is part of the journal's format.
    """

    def __init__(self, settings: TaskSettings) -> None:
        self._settings = settings
        self._surroundings = (settings.mode.value, sorted(settings.environment.items()))

    def kind(self, number: int, work: Work, name: str) -> TaskKind:
        """Return the kind of such tasks."""
        settings, needs = self._settings, self._settings.resources
        return TaskKind(
            id=number,
            name=name,
            work=work,
            mode=settings.mode,
            priority=settings.priority,
            timeout_s=settings.timeout_s,
            retry=_rule(settings.retries),
            environment=settings.environment,
            max_output_bytes=settings.max_output,
            keep=True,
            needs=Needs(needs.cpus, needs.memory, needs.gpus, tuple(sorted({*needs.tags})), needs.ranks),
            labels=tuple(sorted({*settings.labels})),
            expected_s=settings.duration_s,
            timeout_factor=settings.timeout_factor,
            speculate=settings.speculate,
        )

    @cached_property
    def signature(self) -> bytes:
        """The same for settings that make the same kind of the same work."""
        kind = self.kind(0, CommandLine(), "")
        return encode(
            (msgspec.structs.replace(kind, environment={}), self._surroundings, self._settings.site)
        )

    def digest(
        self,
        content: Content,
        args: tuple[object, ...],
        fields: Mapping[str, object],
        upstream: object = None,
    ) -> bytes:
        """Return 16 bytes that two tasks have in common only if they do the same.

        ``upstream`` is what identifies the tasks that it depends on, if there are any.
        """
        parts = (content, self._surroundings, canonical(args), canonical(fields))
        whole = parts if upstream is None else (*parts, upstream)
        return hashlib.blake2b(encode(whole), digest_size=16).digest()

    def site(self, fields: Mapping[str, object]) -> str:
        """Return the site of a task with these values; empty when it has none."""
        site = self._settings.site
        return "" if site is None else render((site,), fields)[0]


class Kinds:
    """The kinds that the tasks of a list need, each made once.

    Parameters
    ----------
    known
        Kinds that are there already.
    """

    def __init__(self, known: Iterable[TaskKind] = ()) -> None:
        self._known = {_key(kind): kind.id for kind in known}
        self._next = max(self._known.values(), default=0) + 1
        self._found: dict[object, tuple[int, Work, Treatment]] = {}
        self._names: dict[int, str] = {}
        self._treatments: dict[bytes, Treatment] = {}
        self._latest: tuple[TaskSettings, Treatment] | None = None

    def of(
        self, settings: TaskSettings, call: str | None, command: Command | None, *, shared: bool
    ) -> tuple[int, Treatment]:
        """Return the number of a task's kind, and its treatment.

        Commands that are not ``shared`` differ from task to task: they go with the tasks, and share one kind.
        """
        treatment = self._treatment(settings)
        work: Work = CallByName(call) if call is not None else CommandLine(command if shared else None)
        key = (work, treatment.signature)
        name = name_of(call, command)
        if key not in self._found:
            self._found[key] = (self._number(treatment.kind(0, work, name)), work, treatment)
        number = self._found[key][0]
        if self._names.setdefault(number, name) != name:
            self._names[number] = "command"
        return number, treatment

    def records(self) -> tuple[TaskKind, ...]:
        """Return the kinds that were not known, by number."""
        known = {*self._known.values()}
        return tuple(
            treatment.kind(number, work, self._names[number])
            for number, work, treatment in self._found.values()
            if number not in known
        )

    def _treatment(self, settings: TaskSettings) -> Treatment:
        """Return the one treatment of all settings that say the same."""
        # The lines of a file have one settings object in common.
        if self._latest is None or self._latest[0] is not settings:
            treatment = Treatment(settings)
            self._latest = settings, self._treatments.setdefault(treatment.signature, treatment)
        return self._latest[1]

    def _number(self, kind: TaskKind) -> int:
        number = self._known.get(_key(kind))
        if number is None:
            number, self._next = self._next, self._next + 1
        return number


def _key(kind: TaskKind) -> bytes:
    environment = sorted(kind.environment.items())
    # A kind of many commands has the name of any.
    name = "" if kind.work == CommandLine() else kind.name
    return encode((msgspec.structs.replace(kind, id=0, name=name, environment={}), environment))


def work_content(call: str | None, command: Command | None) -> Content:
    """Return what a task does: the function that it calls, or its command before fields are filled in."""
    return ("command", command) if call is None else ("call", call)


def canonical(value: object) -> object:
    """Return the value with the keys of all mappings in order."""
    match value:
        case dict():
            return [(key, canonical(value[key])) for key in sorted(value)]
        case list() | tuple():
            return [canonical(item) for item in value]
        case _:
            return value


def name_of(call: str | None, command: Command | None) -> str:
    """Return what to call such tasks: the function's name, or the first word of the command."""
    if call is not None:
        return call.rpartition(":")[2]
    words = command.split(maxsplit=1) if isinstance(command, str) else command
    return words[0] if words else ""


def _rule(retries: RetrySettings) -> RetryRule:
    rules = tuple(
        FailureRule(match, rule.max, rule.backoff_s, rule.memory) for match, rule in retries.on.items()
    )
    return RetryRule(retries.max, retries.backoff_s, retries.jitter, rules, retries.elsewhere)
