"""``control``: ask a running run to pause, cancel, move, and so on.

Here words become a request; who carries it out is ``app/control.py``'s matter.
"""

# ruff: noqa: PLC0415 - what a command needs is imported when it is called; see main.py

import enum
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from mpiexec_runner.errors import ExitCode, UserError

if TYPE_CHECKING:
    from mpiexec_runner.runtime.control import Answer, AnyAsk

LATEST = Path("runs/latest")


class Action(enum.StrEnum):
    """What can be asked for."""

    PAUSE = "pause"
    CONTINUE = "continue"
    CANCEL = "cancel"
    DRAIN = "drain"
    STOP = "stop"
    REPRIORITISE = "reprioritise"
    RETRY = "retry"
    MOVE = "move"
    REBALANCE = "rebalance"
    DISABLE = "disable"
    ENABLE = "enable"


class _Given(NamedTuple):
    """What a user gave to an action, after its name."""

    words: tuple[str, ...] = ()
    label: str = ""
    all_tasks: bool = False
    all_failed: bool = False
    priority: int | None = None
    to: int | None = None
    why: str = ""


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("control", short_help="Ask a running run to pause, cancel, retry and more.")(control)


def control(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[RUN_DIR] ACTION [TASK|RANK]", help="RUN_DIR is runs/latest if left out."),
    ],
    task: Annotated[
        list[str], typer.Option("--task", metavar="TASK", help="A name, an id, or name*. May be repeated.")
    ] = [],  # noqa: B006 - typer reads it
    label: Annotated[str, typer.Option("--label", metavar="L", help="cancel: tasks with this label.")] = "",
    all_tasks: Annotated[bool, typer.Option("--all", help="cancel: all tasks.")] = False,
    all_failed: Annotated[
        bool, typer.Option("--all-failed", help="retry: all that failed or were cancelled or skipped.")
    ] = False,
    priority: Annotated[
        int | None, typer.Option("--priority", min=1, max=10, metavar="P", help="reprioritise: 1 to 10.")
    ] = None,
    to: Annotated[
        int | None, typer.Option("--to", min=0, metavar="RANK", help="move: the worker that gets it.")
    ] = None,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="disable, enable: a reason for the record.")
    ] = "",
    wait: Annotated[
        float, typer.Option("--wait", min=0.1, metavar="S", help="How long to wait for the answer.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Ask a running run for something, and wait until it is on record.

    \b
    pause               begin nothing new
    continue            go on after a pause
    cancel TASK...      cancel tasks (or --label L, or --all)
    drain               finish what runs, then stop; can be resumed
    stop                end what runs, too; can be resumed
    reprioritise TASK...   --priority P, 1 to 10
    retry TASK...       once more after a failure (or --all-failed)
    move TASK           --to RANK, if it has not begun
    rebalance           place anew all that has not begun
    disable RANK        give a worker nothing new
    enable RANK         give it work again
    """
    from mpiexec_runner.app.control import ask

    run_dir, action, rest = _split(words)
    given = _Given((*rest, *task), label, all_tasks, all_failed, priority, to, why)
    answer = ask(run_dir, request(action, given), wait)
    if as_json:
        print(json.dumps({"action": action, "ok": answer.ok, "tasks": answer.tasks, "why": answer.why}))
    elif answer.ok:
        print(_told(action, answer))
    else:
        raise UserError(f"{action} was refused: {answer.why}")
    if not answer.ok:
        raise typer.Exit(int(ExitCode.USAGE))


def _split(words: list[str]) -> tuple[Path, Action, list[str]]:
    """Tell run directory, action and the rest; a directory that is called like an action is ``./pause``."""
    actions = {action.value: action for action in Action}
    if words[0] in actions:
        return LATEST, actions[words[0]], words[1:]
    if len(words) > 1 and words[1] in actions:
        return Path(words[0]), actions[words[1]], words[2:]
    wrong = words[1] if len(words) > 1 else words[0]
    raise UserError(f"{wrong} is no action. There are {', '.join(actions)}")


def request(action: Action, given: _Given) -> "AnyAsk":
    """What was given, as a request.

    Raises
    ------
    UserError
        When the action lacks something, or has no use for something.
    """
    make, wanted = _ACTIONS[action]
    for name, value in given._asdict().items():
        is_given = value is not None and value is not False and value not in ((), "")
        if is_given and name not in wanted:
            raise UserError(f"{action} has no use for {_shown(name, value)}")
    return make(action, given)


def _shown(name: str, value: object) -> str:
    if name == "words":
        return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return "--all" if name == "all_tasks" else "--" + name.replace("_", "-")


def _plain(action: Action, _given: _Given) -> "AnyAsk":
    from mpiexec_runner.runtime import control as box

    asks: dict[Action, AnyAsk] = {
        Action.PAUSE: box.Pause(),
        Action.CONTINUE: box.Continue(),
        Action.DRAIN: box.Drain(),
        Action.STOP: box.Drain(abandon=True),
        Action.REBALANCE: box.Rebalance(),
    }
    return asks[action]


def _cancel(_action: Action, given: _Given) -> "AnyAsk":
    from mpiexec_runner.runtime.control import Cancel

    if given.all_tasks == bool(given.words or given.label):
        raise UserError("cancel needs tasks, or --label L, or --all")
    return Cancel(given.words, given.label, given.all_tasks)


def _reprioritise(_action: Action, given: _Given) -> "AnyAsk":
    from mpiexec_runner.runtime.control import Reprioritise

    if not given.words or given.priority is None:
        raise UserError("reprioritise needs tasks and --priority P")
    return Reprioritise(given.words, given.priority)


def _retry(_action: Action, given: _Given) -> "AnyAsk":
    from mpiexec_runner.runtime.control import Retry

    if given.all_failed == bool(given.words):
        raise UserError("retry needs tasks, or --all-failed")
    return Retry(given.words, given.all_failed)


def _move(_action: Action, given: _Given) -> "AnyAsk":
    from mpiexec_runner.runtime.control import Move

    if len(given.words) != 1 or given.to is None:
        raise UserError("move needs one task and --to RANK")
    return Move(given.words[0], given.to)


def _switch(action: Action, given: _Given) -> "AnyAsk":
    from mpiexec_runner.runtime.control import Switch

    if len(given.words) != 1 or not given.words[0].isdecimal():
        raise UserError(f"{action} needs the rank of one worker")
    return Switch(int(given.words[0]), action is Action.ENABLE, given.why)


_ACTIONS: dict[Action, tuple[Callable[[Action, _Given], "AnyAsk"], tuple[str, ...]]] = {
    Action.PAUSE: (_plain, ()),
    Action.CONTINUE: (_plain, ()),
    Action.CANCEL: (_cancel, ("words", "label", "all_tasks")),
    Action.DRAIN: (_plain, ()),
    Action.STOP: (_plain, ()),
    Action.REPRIORITISE: (_reprioritise, ("words", "priority")),
    Action.RETRY: (_retry, ("words", "all_failed")),
    Action.MOVE: (_move, ("words", "to")),
    Action.REBALANCE: (_plain, ()),
    Action.DISABLE: (_switch, ("words", "why")),
    Action.ENABLE: (_switch, ("words", "why")),
}


def _told(action: Action, answer: "Answer") -> str:
    from mpiexec_runner.app.wording import counted

    tasks = counted(answer.tasks, "task")
    told = {
        Action.PAUSE: "paused: nothing new begins until mpiexec-runner control continue",
        Action.CONTINUE: "the run goes on",
        Action.DRAIN: f"the run stops after what runs now; {tasks} not at their end yet",
        Action.STOP: f"the run stops; {tasks} not at their end yet",
        Action.REBALANCE: f"{tasks} that had been sent and not begun will be placed anew",
        Action.DISABLE: f"disabled: it gets nothing new; {tasks} held",
        Action.ENABLE: "enabled",
    }
    return told.get(action, f"{action}: {tasks}")
