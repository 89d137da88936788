"""Attempts beside other ones: in directories of their own, and found there by what comes later."""

import sys
from pathlib import Path

import msgspec
from fake_hub import spec

from mpiexec_runner.execute import aside
from mpiexec_runner.model.messages import Run
from mpiexec_runner.model.tasks import CommandLine, Result, TaskKind, TaskState
from mpiexec_runner.storage.rundir import RunDirectory

PROGRAM = "import os; print(os.getcwd() == os.environ['MPIEXEC_RUNNER_TASK_DIR'], os.getcwd())"


def test_each_attempt_has_its_directory_and_later_tasks_find_the_right_one(hub_of, tmp_path: Path) -> None:
    hub, run = hub_of(), RunDirectory(tmp_path)
    where = TaskKind(id=1, name="where", work=CommandLine((sys.executable, "-c", PROGRAM)))
    place = str(run.task_dir(1))
    for attempt in (1, 2):
        hub.run(1, where, spec(1, where), attempt=attempt, aside=attempt > 1)
        hub.until(lambda attempt=attempt: len(hub.outcomes) == attempt)
    counts = aside.aside_of(place, 2)
    assert Path(place, "stdout").read_text() == f"True {place}\n"
    assert Path(counts, "stdout").read_text() == f"True {counts}\n"

    aside.note_winner(place, 2)
    show = TaskKind(id=2, name="show", work=CommandLine(("echo", "{place}")))
    for id_ in (2, 3):
        told = spec(id_, show, place="{{ task_0001.dir }}")
        used = [Result(1, TaskState.SUCCEEDED)]
        task = msgspec.structs.replace(told, uses=(1,))
        hub.send(1, Run((show,), [task], [1], results=used))
        hub.outcome(id_)
        shown = Path(run.task_dir(id_), "stdout").read_text().strip()
        assert Path(shown).resolve() == Path(counts)
        aside.put_in_place(place)
