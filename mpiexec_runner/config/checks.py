"""What the keys of a section can say against each other; yields problems, each with the path of its key.

Works on values, not on sections, which are made of what is checked here.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mpiexec_runner.config import conditions
from mpiexec_runner.config.parameters import LatinHypercube, Parameter, Sobol
from mpiexec_runner.config.points import MOST_POINTS, count_points, lengths_of
from mpiexec_runner.config.treatment import TaskSettings
from mpiexec_runner.config.values import KeyPath
from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.template import fields_of
from mpiexec_runner.model.tasks import Mode

Problems = Iterator[tuple[KeyPath, str]]
_Command = str | tuple[str, ...] | None


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean X?" for the known name that is most like this one, or nothing."""
    folded = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f" Did you mean {folded[close[0]]}?" if close else ""


def problems_of_work(settings: TaskSettings, command: _Command, call: str | None) -> Problems:
    """Yield what is wrong with what a task does and how."""
    mode = settings.mode
    if command is not None and call is not None:
        yield ("call",), "give command or call, not both"
    elif command is None and call is None:
        yield (), "says nothing to run. Give command or call"
    elif call is not None:
        yield from _problems_of_call(settings)
    elif mode not in (Mode.AUTO, Mode.COMMAND):
        yield ("mode",), f"{mode} is for calls. Write auto or command, or leave it out, for a command"


def _problems_of_call(settings: TaskSettings) -> Problems:
    mode, needs = settings.mode, settings.resources
    if mode is Mode.COMMAND:
        yield ("mode",), "command is for commands. Write auto, inline, thread, process or asyncio for a call"
    elif needs.ranks > 1 and mode not in (Mode.AUTO, Mode.INLINE):
        told = f"a call on {needs.ranks} ranks runs in the ranks themselves. Leave out mode, or ranks"
        yield ("mode",), told
    elif mode in (Mode.INLINE, Mode.THREAD):
        limits = {
            "after timeout_s": settings.timeout_s is not None,
            "after timeout_factor": settings.timeout_factor is not None,
            "when it takes more than its memory": needs.memory > 0,
        }
        for limit in (key for key, given in limits.items() if given):
            yield ("mode",), f"{_A[mode]} task cannot be ended {limit}. Write process, or leave mode out"


_A = {Mode.INLINE: "an inline", Mode.THREAD: "a thread"}


def problems_of_site(site: str | None, names: Iterable[str] | None, source: str) -> Problems:
    """Yield the fields of a site that nothing fills; ``names`` is ``None`` if only a file can tell."""
    if site is not None:
        # As a list of one argument: no shell reads it.
        for _, problem in problems_of_fields((site,), names, source):
            yield ("site",), problem


def problems_of_fields(command: _Command, names: Iterable[str] | None, source: str) -> Problems:
    """Yield the fields of a command that nothing fills; ``names`` is ``None`` if only a file can tell."""
    if command is None:
        return
    try:
        needed = fields_of(command)
    except UserError as error:
        yield ("command",), str(error)
        return
    if names is not None:
        for problem in problems_of_missing(needed, list(names), source):
            yield ("command",), problem


def problems_of_missing(needed: frozenset[str], names: Sequence[str], source: str) -> Iterator[str]:
    """Yield a message for each needed field that is not among the names."""
    for field in sorted(needed - set(names)):
        known = f"{source} {', '.join(names)}." if names else f"{source} nothing."
        known = known.replace("parameters are nothing.", "there are no parameters.")
        guess = suggestion(field, names) or f" A brace of the command itself is doubled: {{{{{field}}}}}"
        yield f"field {{{field}}} is filled by no {_FILLER.get(source, 'value')}; {known}{guess}"


_FILLER = {"parameters are": "parameter", "columns are": "column"}


def problems_of_points(
    parameters: Mapping[str, Parameter], samples: int | None, combine: str, key: str = "parameters"
) -> Problems:
    """Yield what is wrong with how parameters are combined; ``key`` is what they stand under."""
    joint = [name for name, given in parameters.items() if isinstance(given, LatinHypercube | Sobol)]
    if joint and samples is None:
        yield ("samples",), f"is missing: it says how many points {', '.join(joint)} have (lhs, sobol)"
        return
    if samples is not None and not joint:
        yield ("samples",), "is for lhs and sobol parameters, and there are none. Remove it"
    lengths = lengths_of(parameters, samples)
    empty = [name for name, length in lengths.items() if length == 0]
    for name in empty:
        yield (key, name), "has no values, so that nothing would be run"
    if empty:
        return
    uneven = {name: length for name, length in lengths.items() if length > 1}
    if combine == "zip" and len(set(uneven.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in uneven.items())
        yield ("combine",), f"zip needs parameters of equal length (or of one value); {told}"
        return
    count = count_points(parameters, samples, combine)
    if count > MOST_POINTS:
        yield (key,), f"stand for {count:,} points. One run takes at most {MOST_POINTS:,}"


def problems_of_conditions(key: str, texts: Sequence[str], names: Iterable[str]) -> Problems:
    """Yield what is wrong with conditions over these parameters."""
    known = list(names)
    for index, text in enumerate(texts):
        try:
            condition = conditions.parse(text)
        except conditions.ConditionError as error:
            yield (key, index), str(error)
            continue
        for name in sorted(condition.names - set(known)):
            told = f"{text!r} uses {name}, which is no parameter; parameters are {', '.join(known)}."
            yield (key, index), told + suggestion(name, known)
