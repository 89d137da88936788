"""What a task of a pipeline is, as a program describes it: read from mappings, checked, put in order.

Nothing here submits anything; a mapping goes no further than :func:`read_job`.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from mpiexec_runner.api.options import TaskOptions
from mpiexec_runner.errors import UserError
from mpiexec_runner.execute import template
from mpiexec_runner.execute.bound import refs_in
from mpiexec_runner.model.tasks import When

Command = str | tuple[str, ...]
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_WHEN = {"success": When.SUCCESS, "any": When.ANY, "failure": When.FAILURE}
_KEYS = ("id", "call", "command", "tool", "script", "args", "with", "depends_on", "when")
_WORDS = frozenset({"all", "result", "dir", "stdout", "state"})


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One task, by name. ``call`` is a function, or ``module:function``; ``after`` are names."""

    id: str
    call: Callable[..., Any] | str | None = None
    command: Command | None = None
    args: tuple[Any, ...] = ()
    fields: dict[str, Any] = {}
    after: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    when: When = When.SUCCESS
    options: TaskOptions = TaskOptions()


class Reader:
    """Reads tasks.

    Parameters
    ----------
    tools
        Command templates by name.
    options
        What tasks have that do not say otherwise.
    """

    def __init__(self, tools: Mapping[str, str | Sequence[str]], options: TaskOptions) -> None:
        self._tools = {name: _template(name, tool) for name, tool in tools.items()}
        self._options = options

    def read(self, given: Mapping[str, Any], free: Callable[[], str], also: Iterable[str] = ()) -> Job:
        """A task from a mapping.

        Parameters
        ----------
        given
            ``call``, ``command`` or ``tool``; ``id``, ``script``, ``args``, ``with``, ``depends_on``,
            ``when``, and the options of a task.
        free
            Gives an id where it brings none.
        also
            What it depends on besides.

        Raises
        ------
        UserError
            With what is wrong, and where.
        """
        if not isinstance(given, Mapping):
            raise UserError(f"a task is a mapping with call, command or tool, not {given!r}")
        name = str(given.get("id") or free())
        if not _ID.fullmatch(name) or _WORDS & set(name.split(".")[1:]):
            raise UserError(
                f"{name!r} cannot be the id of a task: letters, digits, _ . and - are allowed; it begins "
                f"with none of . and -, and holds no part {' '.join(sorted(_WORDS))} after a dot"
            )
        options = self._options_of(given, name)
        call, command = self._work(given, name)
        if (
            call is not None
            and not callable(call)
            and not (isinstance(call, str) and _TARGET.fullmatch(call))
        ):
            raise UserError(f"{name}: call is {call!r}. Give a function, or module:function as text")
        args, fields = tuple(given.get("args", ())), dict(given.get("with", {}))
        if "script" in given:
            fields["script"] = given["script"]
        if command is not None:
            if args:
                raise UserError(f"{name}: a command takes named values (with), no args")
            lacking = sorted(template.fields_of(command) - fields.keys())
            if lacking:
                raise UserError(
                    f"{name}: its command needs {', '.join(lacking)}; it is given {_list(fields)}"
                )
        uses = tuple(dict.fromkeys(ref.task for ref in refs_in([args, fields])))
        after = _names(given.get("depends_on", ()), name)
        return Job(
            id=name,
            call=call,
            command=command,
            args=args,
            fields=fields,
            after=tuple(dict.fromkeys([*after, *uses, *also])),
            uses=uses,
            when=_when(given.get("when", "success"), name),
            options=options,
        )

    def _options_of(self, given: Mapping[str, Any], name: str) -> TaskOptions:
        rest = {key: value for key, value in given.items() if key not in _KEYS}
        known = (*_KEYS, *TaskOptions.__struct_fields__)
        for key in rest:
            if key not in known:
                raise UserError(f"{name}: a task has no key {key!r}.{suggestion(key, known)}")
        try:
            return self._options.changed(**rest)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None

    def _work(self, given: Mapping[str, Any], name: str) -> tuple[Any, Command | None]:
        said = [key for key in ("call", "command", "tool") if given.get(key) is not None]
        if len(said) != 1:
            raise UserError(f"{name}: give one of call, command and tool, not {' and '.join(said) or 'none'}")
        if said == ["call"]:
            return given["call"], None
        if said == ["command"]:
            return None, _template(name, given["command"])
        tool = given["tool"]
        if tool not in self._tools:
            told = f"There are {', '.join(self._tools)}" if self._tools else "None was given to the pipeline"
            raise UserError(f"{name}: no tool {tool!r}.{suggestion(str(tool), self._tools)} {told}")
        return None, self._tools[tool]


def in_order(jobs: Sequence[Job], known: Collection[str]) -> list[Job]:
    """The tasks so that each comes behind those that it depends on (Kahn, 1962; else as they are given).

    Parameters
    ----------
    jobs
        To be submitted together.
    known
        Names of those that were submitted before.

    Raises
    ------
    UserError
        On a name that is there twice, a dependency that nobody knows, or a cycle, with its path.
    """
    by_name: dict[str, Job] = {}
    for job in jobs:
        if job.id in by_name or job.id in known:
            raise UserError(f"there is a task {job.id} already: each id names one task")
        by_name[job.id] = job
    waits: dict[str, int] = {}
    behind: dict[str, list[str]] = {}
    for job in jobs:
        for name in job.after:
            if name not in by_name and name not in known:
                hint = suggestion(name, [*by_name, *known])
                raise UserError(f"{job.id} depends on {name}, which is no task of this pipeline.{hint}")
        inside = [name for name in job.after if name in by_name]
        waits[job.id] = len(inside)
        for name in inside:
            behind.setdefault(name, []).append(job.id)
    line = [job.id for job in jobs if not waits[job.id]]
    for name in line:  # it grows meanwhile
        for other in behind.get(name, ()):
            waits[other] -= 1
            if not waits[other]:
                line.append(other)
    if len(line) < len(jobs):
        raise UserError(f"the tasks depend on each other in a cycle: {_cycle(by_name, set(line))}")
    return [by_name[name] for name in line]


def _cycle(jobs: Mapping[str, Job], outside: set[str]) -> str:
    """The path of a cycle: whoever is left has somebody before it who is left, too."""
    path = [next(name for name in jobs if name not in outside)]
    while path[-1] not in path[:-1]:
        path.append(next(name for name in jobs[path[-1]].after if name in jobs and name not in outside))
    return " -> ".join(path[path.index(path[-1]) :])


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean X?" for the known name that is most like this one, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def _template(name: str, given: object) -> Command:
    if isinstance(given, str) and given.strip():
        command: Command = given
    elif isinstance(given, list | tuple) and given and all(isinstance(word, str) for word in given):
        command = tuple(given)
    else:
        raise UserError(f"{name}: a command is text for the shell or a list of words, not {given!r}")
    try:
        template.fields_of(command)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    return command


def _names(given: object, name: str) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if isinstance(given, Iterable):
        return tuple(map(str, given))
    raise UserError(f"{name}: depends_on is {given!r}. Give an id or a list of ids")


def _when(given: object, name: str) -> When:
    if isinstance(given, When):
        return given
    if given not in _WHEN:
        raise UserError(f"{name}: when is {given!r}. Give one of {', '.join(_WHEN)}")
    return _WHEN[str(given)]


def _list(fields: Mapping[str, object]) -> str:
    return ", ".join(fields) or "nothing"
