"""mpiexec_runner: one MPI job as a fault-tolerant task engine.

What a Python program imports is here; everything else is reached through the ``mpiexec-runner`` command.
"""

from typing import TYPE_CHECKING

from mpiexec_runner.version import __version__

if TYPE_CHECKING:
    from mpiexec_runner.api.executor import ParallelExecutor
    from mpiexec_runner.api.futures import TaskFailed
    from mpiexec_runner.api.options import QueueFull, ResourceLimits
    from mpiexec_runner.api.orchestration import Objective, OrchestrationManager
    from mpiexec_runner.api.pipeline import TaskPipeline
    from mpiexec_runner.execute.additions import add_tasks
    from mpiexec_runner.model.tasks import FailureRule, RetryRule
    from mpiexec_runner.policies.scaling import ScalingSettings

__all__ = [
    "FailureRule",
    "Objective",
    "OrchestrationManager",
    "ParallelExecutor",
    "QueueFull",
    "ResourceLimits",
    "RetryRule",
    "ScalingSettings",
    "TaskFailed",
    "TaskPipeline",
    "__version__",
    "add_tasks",
]

_HOMES = {
    "FailureRule": "model.tasks",
    "Objective": "api.orchestration",
    "OrchestrationManager": "api.orchestration",
    "ParallelExecutor": "api.executor",
    "QueueFull": "api.options",
    "ResourceLimits": "api.options",
    "RetryRule": "model.tasks",
    "ScalingSettings": "policies.scaling",
    "TaskFailed": "api.futures",
    "TaskPipeline": "api.pipeline",
    "add_tasks": "execute.additions",
}


def __getattr__(name: str) -> object:
    """Load the Python interface when it is first used: importing the package alone must stay cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - see above

    home = _HOMES[name]
    if home.startswith("api."):
        import mpiexec_runner.app.engine  # noqa: F401, PLC0415 - provides the engine

    return getattr(importlib.import_module(f"mpiexec_runner.{home}"), name)
