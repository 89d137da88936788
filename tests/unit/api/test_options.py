"""Options of tasks, and limits of a run."""

import pytest

from mpiexec_runner.api.options import ResourceLimits, TaskOptions
from mpiexec_runner.errors import UserError
from mpiexec_runner.model.tasks import CallByName, Mode, Needs, RetryRule


def test_options_become_a_kind():
    options = TaskOptions().changed(
        priority=8, cpus=2, memory=10, gpus=1, tags=["ssd"], ranks=2, retries=3, labels=["x"], timeout_s=None
    )
    kind = options.kind(7, "f", CallByName("m:f"), keep=True)
    assert (kind.id, kind.priority, kind.labels, kind.keep) == (7, 8, ("x",), True)
    assert kind.needs == Needs(2, 10, 1, ("ssd",), 2)
    assert kind.retry == RetryRule(max=3)


def test_equal_options_are_one_key():
    assert {TaskOptions().changed(cpus=2): 1}[TaskOptions(cpus=2)] == 1
    assert TaskOptions().changed(mode="thread").mode is Mode.THREAD


@pytest.mark.parametrize(
    "given",
    [
        {"priority": 0},
        {"priority": "high"},
        {"cpus": -1},
        {"ranks": 0},
        {"retries": -1},
        {"timeout_s": 0},
        {"mode": "fast"},
        {"labels": "x"},
        {"no_such": 1},
    ],
)
def test_what_cannot_be_is_refused(given):
    with pytest.raises(UserError):
        TaskOptions().changed(**given)


def test_limits_become_settings():
    limits = ResourceLimits(
        max_concurrent_tasks=3, max_cpu_percent=80, max_memory=5, task_timeout="3x median"
    )
    assert limits.settings().concurrent == 3
    assert limits.settings().max_cpu_percent == 80
    assert limits.settings().max_memory == 5
    assert limits.task_options().timeout_factor == 3
    assert ResourceLimits(task_timeout=2).task_options().timeout_s == 2


@pytest.mark.parametrize(
    "given",
    [
        {"max_queue_size": 0},
        {"max_cpu_percent": 101},
        {"on_full": "drop"},
        {"task_timeout": "3 medians"},
        {"task_timeout": "0.5x median"},
        {"task_timeout": -1},
        {"monitoring_interval": 0},
    ],
)
def test_limits_that_cannot_be_are_refused(given):
    with pytest.raises(UserError):
        ResourceLimits(**given)
