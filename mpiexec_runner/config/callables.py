"""Whether the Python functions that a configuration names are there and take what they are given.

Importing them is the user's own code running, and may take long: so this is apart from loading.
"""

import importlib
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mpiexec_runner.config.checks import suggestion
from mpiexec_runner.config.items import items_of
from mpiexec_runner.config.links import jobs_of
from mpiexec_runner.config.models import RunConfig
from mpiexec_runner.config.sections import TaskFile
from mpiexec_runner.config.treatment import TaskSettings
from mpiexec_runner.errors import ConfigError
from mpiexec_runner.execute.health import NAMED


def check_callables(config: RunConfig, directory: str | Path) -> None:
    """Import every function that the configuration calls.

    Parameters
    ----------
    config
        A configuration that was loaded.
    directory
        The configuration file's directory. Modules are looked for in ``run.python_path``, there, in the
        current directory, and then where Python looks: as the workers do.

    Raises
    ------
    ConfigError
        With each function that is missing, cannot be imported, or does not take its arguments.
    """
    problems = []
    functions: dict[str, Callable[..., Any] | str] = {}
    with _search_path(*config.run.python_path, str(Path(directory).absolute()), str(Path.cwd())):
        for place, target, args, names in _calls(config):
            if target not in functions:
                functions[target] = _find(target)
                if isinstance(found := functions[target], str):
                    problems.append(f"{place}{': ' if ':' in place else '.'}call: {found}")
            found = functions[target]
            if not isinstance(found, str) and (problem := _mismatch(found, args, names)):
                problems.append(f"{place}: {target} cannot be called so: {problem}")
        problems += _check_problems(config.heartbeat.checks)
    if problems:
        raise ConfigError(problems[:20])


def _check_problems(names: Sequence[str]) -> Iterator[str]:
    """Say what is wrong with the checks that workers are to run on themselves."""
    for name in names:
        if ":" not in name:
            if name not in NAMED:
                known = f"There are {', '.join(NAMED)}, and your own as module:function"
                yield f"heartbeat.checks: no such check: {name}.{suggestion(name, NAMED)} {known}"
            continue
        found = _find(name)
        if isinstance(found, str):
            yield f"heartbeat.checks: {found}"
        elif problem := _mismatch(found, (), ()):
            yield f"heartbeat.checks: {name} cannot be called without arguments: {problem}"


def _calls(config: RunConfig) -> Iterator[tuple[str, str, tuple[object, ...], tuple[str, ...]]]:
    """Yield (place, target, positional arguments, names of the others) for all that is called.

    What many tasks have in common is yielded once. A call of several ranks gets a communicator first.
    """
    if config.sweep is not None and config.sweep.call is not None:
        yield "sweep", config.sweep.call, _first_of(config.sweep), tuple(config.sweep.parameters)
    for name, job in jobs_of(config.workflow or {}).items():
        if job.call is not None:
            args = (*_first_of(job), *job.args)
            yield f"workflow.{name}", job.call, args, (*job.with_, *job.for_each)
    tasks = config.tasks
    if tasks is None or (
        isinstance(tasks, TaskFile) and (tasks.command is not None or tasks.file.endswith(".txt"))
    ):
        return
    seen: set[tuple[str, int, tuple[str, ...]]] = set()
    # All lines of a .csv have the same fields, so one of them tells.
    same = isinstance(tasks, TaskFile) and tasks.file.endswith(".csv")
    for item in itertools.islice(items_of(tasks, config.tools), 1 if same else None):
        if item.call is not None:
            args = (*_first_of(item.settings), *item.args)
            key = (item.call, len(args), tuple(item.fields or ()))
            if key not in seen:
                seen.add(key)
                yield item.place, item.call, args, key[2]


def _first_of(settings: TaskSettings) -> tuple[object, ...]:
    return ("communicator",) if settings.resources.ranks > 1 else ()


def _find(target: str) -> Callable[..., Any] | str:
    """Return the function, or what is wrong."""
    module_name, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            return f"importing {module_name} failed: {error}. Install what it needs"
        return (
            f"there is no module {error.name}. Put it beside the configuration file or into the current "
            "directory, or install it in this Python"
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the module is the user's and may raise anything
        return f"importing {module_name} failed: {type(error).__name__}: {error}"
    owner = f"the module {module_name}"
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            return f"{owner} has no {name}.{suggestion(name, dir(found))}".removesuffix(".")
        owner = name
    return found if callable(found) else f"{target} is no function, but {type(found).__name__}"


def _mismatch(function: Callable[..., Any], args: tuple[object, ...], names: tuple[str, ...]) -> str | None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins do not tell
        return None
    try:
        signature.bind(*args, **dict.fromkeys(names))
    except TypeError as error:
        return f"{error}. Its signature is {function.__name__}{signature}"
    return None


@contextmanager
def _search_path(*directories: str) -> Iterator[None]:
    before = list(sys.path)
    sys.path[:0] = directories
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
