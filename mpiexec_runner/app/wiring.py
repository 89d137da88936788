"""Which policy and which adapter serves which port."""

import importlib
import inspect
import random
from typing import cast

from mpiexec_runner.config.checks import suggestion
from mpiexec_runner.core.ports import Placement
from mpiexec_runner.core.scheduler import TaskScheduler
from mpiexec_runner.core.settings import HeartbeatSettings, LimitSettings, SchedulerSettings
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import ConfigError
from mpiexec_runner.policies.placement import PLACEMENTS
from mpiexec_runner.policies.retry import ExponentialBackoff
from mpiexec_runner.policies.speculation import LateAttempts

_PORT = "share(count, candidates, turn, demand)"


def make_scheduler(
    settings: SchedulerSettings,
    heartbeat: HeartbeatSettings,
    seed: int = 0,
    state: RunState | None = None,
    limits: LimitSettings | None = None,
) -> TaskScheduler:
    """The scheduling core with the policies that the settings name.

    Raises
    ------
    ConfigError
        When there is no such policy.
    """
    placement = find_placement(settings.placement, seed)
    return TaskScheduler(
        settings,
        heartbeat,
        placement,
        ExponentialBackoff(),
        state,
        speculation=LateAttempts(),
        limits=limits,
        draw=lambda text: random.Random(f"{seed}/{text}").random(),  # noqa: S311 - no secret hangs on it
    )


def find_placement(name: str, seed: int = 0) -> Placement:
    """A placement policy by its name, or a user's own by ``module:Class`` (called without arguments).

    Raises
    ------
    ConfigError
        When there is none of that name, it cannot be made, or its ``share`` is not that of the port.
    """
    where = f"scheduler.placement: {name}"
    if name in PLACEMENTS:
        return PLACEMENTS[name](seed, random.Random)
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        known = f"There are {', '.join(PLACEMENTS)}, and your own as module:Class"
        raise ConfigError([f"{where}: no such policy.{suggestion(name, PLACEMENTS)} {known}"])
    try:
        policy = getattr(importlib.import_module(module), attribute)()
    except (Exception, SystemExit) as error:  # the module is the user's and may raise anything
        raise ConfigError([f"{where}: cannot be made: {type(error).__name__}: {error}"]) from error
    if problem := _misfit(policy):
        raise ConfigError([f"{where}: {problem}. It needs {_PORT}; see docs/policies.md"])
    return cast("Placement", policy)


def _misfit(policy: object) -> str | None:
    """What keeps an object from being a placement policy, or None."""
    share = getattr(policy, "share", None)
    if not callable(share):
        return "has no method share"
    try:
        signature = inspect.signature(share)
    except (TypeError, ValueError):  # some builtins do not tell
        return None
    try:
        signature.bind(1, [], 0, None)
    except TypeError as error:
        return f"its share{signature} cannot be called so: {error}"
    return None
