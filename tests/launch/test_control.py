"""Asking runs for something while they run, as users do; and asking why a task does not."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mpiexec_runner.app.explain import read_state
from mpiexec_runner.core.state import RunState
from mpiexec_runner.model.tasks import TaskState
from mpiexec_runner.runtime.control import ControlBox, Drain
from mpiexec_runner.runtime.requests import name_of
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.storage.status import find_status

pytestmark = pytest.mark.launches


NAMES = ("first", "second", "third", "fourth")
DEFAULTS = "defaults: {retries: {max: 0}}\n"
SENT_AHEAD = "scheduler: {prefetch_s: 60, work_stealing: false, speculation: false}\n"


class Gated:
    """A run of tasks that each wait for a gate of their own; with one worker unless told otherwise."""

    def __init__(self, runner: Callable, directory: Path, ranks: int = 2, settings: str = DEFAULTS) -> None:
        self._runner, self._directory, self.run_dir = runner, directory, directory / "run"
        wait = f"while ! test -e {directory}/open-%s; do sleep 0.01; done; test ! -e {directory}/bad-%s"
        tasks = [f"  - {{id: {name}, command: '{wait % (name, name)}'}}" for name in NAMES]
        (directory / "gated.yaml").write_text(settings + "tasks:\n" + "\n".join(tasks) + "\n")
        self.job = runner("run", "gated.yaml", "-n", ranks, "--run-dir", "run")

    def open(self, *names: str) -> None:
        for name in names or NAMES:
            (self._directory / f"open-{name}").touch()

    def make_fail(self, name: str) -> None:
        (self._directory / f"bad-{name}").touch()

    def has_begun(self, *names: str) -> bool:
        return {path.name for path in self.run_dir.glob("tasks/*/*")} >= set(names)

    def until_begun(self, *names: str) -> None:
        assert self.job.until(lambda: self.has_begun(*names)), self.job.output

    def state(self) -> RunState:
        """What is on record now."""
        return read_state(RunDirectory.open(self.run_dir))

    def workers(self) -> dict[str, int]:
        """Which worker holds a task."""
        return {name_of(task): task.worker for task in self.state().tasks.values()}

    def are(self, state: TaskState) -> set[str]:
        return {name_of(task) for task in self.state().tasks.values() if task.state is state}

    def until_at_end(self, *names: str) -> None:
        def at_end() -> bool:
            if not (self.run_dir / "run.yaml").exists():
                return False
            return {name_of(task) for task in self.state().tasks.values() if task.state.terminal} >= set(
                names
            )

        assert self.job.until(at_end), self.job.output

    def control(self, *words: object) -> tuple[int, str]:
        asked = self._runner("control", self.run_dir, *words)
        return asked.wait(), asked.output

    def explain(self, task: str) -> list[str]:
        asked = self._runner("explain", self.run_dir, task)
        assert asked.wait() == 0, asked.output
        return asked.output.splitlines()

    def box(self) -> list[str]:
        return sorted(path.name for path in (self.run_dir / "control").iterdir() if path.name != "answers")


@pytest.fixture
def gated(runner, tmp_path) -> Callable[..., Gated]:
    return lambda **options: Gated(runner, tmp_path, **options)


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_waiting_and_a_running_task_are_cancelled_and_the_others_run(gated, ranks):
    run = gated(ranks=ranks)
    run.until_begun("first")
    assert run.control("cancel", "third") == (0, "cancel: 1 task\n")
    code, told = run.control("cancel", "--task", "fir*", "--json")
    assert (code, json.loads(told)) == (0, {"action": "cancel", "ok": True, "tasks": 1, "why": ""})
    run.open()
    assert run.job.wait() == 1, run.job.output
    assert run.are(TaskState.CANCELLED) == {"first", "third"}
    assert run.are(TaskState.SUCCEEDED) == {"second", "fourth"}
    assert run.box() == []


def test_what_cannot_be_done_is_refused_with_the_reason_and_the_run_goes_on(gated):
    run = gated()
    run.until_begun("first")
    (run.run_dir / "control" / "drain").touch()
    code, told = run.control("cancel", "first", "nope")
    assert (code, told) == (
        2,
        "error: cancel was refused: there is no task nope: use a name, an id, or name*\n",
    )
    code, told = run.control("move", "second", "--to", 7, "--json")
    assert (code, json.loads(told)["why"]) == (2, "no worker has rank 7; there are 1")
    run.open()
    assert run.job.wait() == 0, run.job.output
    assert "drain is no request that this version knows" in run.job.output
    assert run.box() == []


def test_a_drained_run_is_resumed_and_requests_of_an_earlier_life_are_not_obeyed(gated, runner):
    run = gated()
    run.until_begun("first")
    code, told = run.control("drain")
    assert (code, told) == (0, "the run stops after what runs now; 4 tasks not at their end yet\n")
    run.open("first")
    assert run.job.wait() == 4, run.job.output
    code, told = run.control("pause")
    assert code == 2
    assert (
        f"no run is alive on {run.run_dir}: it ended as interrupted (stopped by a request; 3 tasks are left)"
        in told
    )
    assert run.explain("second")[1:3] == [
        "second is ready",
        "the run is stopping, because of a request: nothing new begins; a resume goes on with it",
    ]
    left = ControlBox(run.run_dir / "control").drop(Drain(), epoch=1)
    run.open()
    again = runner("resume", run.run_dir, "-n", 2)
    assert again.wait() == 0, again.output
    answer = ControlBox(run.run_dir / "control").find_answer(left)
    # A run that is over so soon refuses it as too late.
    assert answer.why in (
        "it was made to life 1 of the run; this is life 2",
        "the run has come to its end",
    )
    assert run.box() == []


def test_stop_ends_what_runs(gated):
    run = gated()
    run.until_begun("first")
    code, told = run.control("stop")
    assert (code, told) == (0, "the run stops; 4 tasks not at their end yet\n")
    assert run.job.wait() == 4, run.job.output
    assert "interrupted: stopped by a request; 4 tasks are left" in run.job.output
    assert run.are(TaskState.READY) == set(NAMES)


def test_a_request_that_no_hub_takes_is_withdrawn(gated):
    run = gated()
    run.until_begun("first")
    hub = next(
        member for member in run.job.family() if member.cmdline()[1:4] == ["-m", "mpiexec_runner", "rank"]
    )
    hub.send_signal(signal.SIGSTOP)
    try:
        code, told = run.control("cancel", "--all", "--wait", 0.5)
    finally:
        hub.send_signal(signal.SIGCONT)
    assert code == 2
    assert "did not take the request in 0.5 s; it was withdrawn" in told
    assert run.box() == []
    run.open()
    assert run.job.wait() == 0, run.job.output


def test_a_run_that_died_is_told_from_one_that_lives(gated):
    run = gated()
    run.until_begun("first")
    run.job.kill()
    code, told = run.control("pause")
    assert code == 2
    assert "its last life died without a word; go on with: mpiexec-runner resume" in told
    assert run.box() == []
    assert "as its record ends:" in run.explain("first")[0]


def test_explaining_does_not_disturb_a_run(gated):
    run = gated()
    run.until_begun("first")
    assert run.job.until(lambda: run.state().tasks[1].state is TaskState.RUNNING), run.job.output
    before = {path: path.stat().st_mtime_ns for path in (run.run_dir / "control").iterdir()}
    told = run.explain("first")
    assert told[0] == "first is running"
    assert told[1].startswith("it runs on rank 1 (")
    assert run.explain("3") == [
        "third is ready",
        "all 1 worker that are there have work (1 task)",
        "it is queued with priority 5 behind 1 that came before it",
    ]
    assert {path: path.stat().st_mtime_ns for path in (run.run_dir / "control").iterdir()} == before
    run.open()
    assert run.job.wait() == 0, run.job.output
    assert run.explain("third")[1].startswith("third is succeeded: attempt 1 on rank 1, in ")


def test_an_interrupt_of_the_launching_process_goes_the_same_way(gated):
    run = gated()
    run.until_begun("first")
    run.job.process.send_signal(signal.SIGINT)
    assert run.job.until(lambda: run.state().drain is not None), run.job.output
    run.job.process.send_signal(signal.SIGINT)
    assert run.job.wait() == 4, run.job.output
    assert find_status(run.run_dir / "status.json").state == "interrupted"
    assert run.box() == []


# --- what the core is to learn: on record is that a task ended, and not that another was sent for it


def test_a_paused_run_begins_nothing_until_it_continues(gated):
    run = gated()
    run.until_begun("first")
    assert run.control("pause")[0] == 0
    assert "the run is paused" in " ".join(run.explain("second"))
    run.open()
    run.until_at_end("first")
    assert run.are(TaskState.READY) == {"second", "third", "fourth"}
    assert run.control("continue")[0] == 0
    assert run.job.wait() == 0, run.job.output


def test_an_urgent_task_goes_first(gated):
    run = gated()
    run.until_begun("first")
    assert run.control("reprioritise", "fourth", "--priority", 9) == (0, "reprioritise: 1 task\n")
    run.open("first")
    run.until_begun("fourth")
    assert run.are(TaskState.READY) == {"second", "third"}
    run.open()
    assert run.job.wait() == 0, run.job.output


def test_a_disabled_worker_gets_nothing_until_it_is_enabled_nor_what_was_moved_to_another(gated):
    run = gated(ranks=3)
    run.until_begun("first", "second")
    rank, other = (run.workers()[name] for name in ("first", "second"))
    assert run.control("disable", rank, "--why", "noisy")[0] == 0
    run.open("first")
    run.until_at_end("first")
    assert run.are(TaskState.READY) == {"third", "fourth"}
    assert run.control("move", "third", "--to", other) == (0, "move: 1 task\n")
    assert run.control("enable", rank)[0] == 0
    run.until_begun("fourth")
    assert run.are(TaskState.READY) == {"third"}
    run.open()
    assert run.job.wait() == 0, run.job.output
    assert f"on rank {other}, in" in run.explain("third")[1]


def test_a_failed_task_is_tried_once_more(gated):
    run = gated()
    run.make_fail("first")
    run.open("first")
    run.until_at_end("first")
    (run.run_dir.parent / "bad-first").unlink()
    assert run.control("retry", "--all-failed") == (0, "retry: 1 task\n")
    run.open()
    assert run.job.wait() == 0, run.job.output


def test_what_was_sent_ahead_is_placed_anew(gated):
    run = gated(ranks=3, settings=SENT_AHEAD)
    run.until_begun("first", "second")
    idle = run.workers()["second"]
    run.open("first")  # how long such a task takes is known now: two of them are sent to its worker
    run.until_begun("third")
    ahead = run.workers()
    assert ahead["fourth"] == ahead["third"] != idle
    run.open("second")
    run.until_at_end("second")
    assert run.workers()["fourth"] == ahead["third"]
    assert run.control("rebalance")[0] == 0
    run.until_begun("fourth")
    run.open()
    assert run.job.wait() == 0, run.job.output
    assert f"on rank {idle}, in" in run.explain("fourth")[1]
