"""Trouble with the disk under real runs: nothing that finished is lost, and whoever watches is told why."""

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import itertools

from faulty_disk import FaultyDisk, faulty_disk, faulty_library, small_disk  # noqa: F401 - fixtures

from mpiexec_runner.model.events import TasksFinished
from mpiexec_runner.model.tasks import Outcome, Verdict
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.results import columns, read_results
from mpiexec_runner.storage.rundir import RunDirectory

pytestmark = [pytest.mark.launches, pytest.mark.timeout(300)]

TASKS = 120
MODULE = """
import os, time
from pathlib import Path
HERE = Path(__file__).parent

def square(i, lasts=0.02):
    time.sleep(lasts)
    with open(HERE / "done", "a") as file:
        file.write(f"{i}\\n")
    return {"square": i * i, "noise": os.urandom(1000).hex()}

def array(i):
    import numpy as np
    with open(HERE / "done", "a") as file:
        file.write(f"{i}\\n")
    return np.full(40_000, i, dtype=float)

def slow_array(i):
    time.sleep(0.01)
    return array(i)

def at_the_gate(i):
    (HERE / f"began-{i}").touch()
    while not (HERE / "gate").exists():
        time.sleep(0.005)
    return {"square": i * i}
"""


def config(tmp_path: Path, call: str = "square", tasks: int = TASKS, more: str = "") -> Path:
    (tmp_path / "work.py").write_text(MODULE)
    path = tmp_path / "run.yaml"
    sweep = f"sweep: {{call: 'work:{call}', parameters: {{i: {{range: [0, {tasks}]}}}}}}"
    path.write_text(f"name: faults\n{sweep}\nrun: {{task_dirs: false}}\n{more}\n")
    return path


def executed(tmp_path: Path) -> list[int]:
    path = tmp_path / "done"
    return list(map(int, path.read_text().split())) if path.exists() else []


def journal_bytes(run_dir: Path) -> int:
    return sum(path.stat().st_size for path in (run_dir / "journal").glob("*.journal"))


def check_exactly_once(run_dir: Path, tasks: int = TASKS) -> None:
    table = columns(read_results(RunDirectory(run_dir)))
    assert table["i"] == list(range(tasks))
    assert table["result.square"] == [i * i for i in range(tasks)]
    assert set(table["state"]) == {"succeeded"}
    successes = Counter(
        outcome.task
        for record in read_journal(run_dir / "journal")
        for event in record.events
        if isinstance(event, TasksFinished)
        for outcome in event.outcomes
        if outcome.verdict is Verdict.SUCCEEDED
    )
    assert set(successes.values()) == {1}
    assert len(successes) == tasks


def begin(runner, tmp_path: Path, run_dir: Path, **variables: str):
    """Start a run and return when some of its tasks are on record."""
    job = runner("run", config(tmp_path), "--run-dir", run_dir, "-n", 3, **variables)
    assert job.until(lambda: len(executed(tmp_path)) >= TASKS // 6), job.output
    return job


def check_clean_end(job, code: int = 5) -> None:
    assert job.wait() == code, job.output
    assert "Traceback" not in job.output, job.output
    assert job.family() == []


# --- full


def test_a_full_disk_is_waited_for(runner, small_disk, tmp_path):  # noqa: F811
    disk = small_disk("2m")
    run_dir = disk.path / "run"
    job = begin(runner, tmp_path, run_dir)
    disk.fill()
    job.until(lambda: "No space left on device; make room" in job.output)
    before, a_second_later = len(executed(tmp_path)), time.monotonic() + 1.0
    job.until(lambda: time.monotonic() > a_second_later)
    assert len(executed(tmp_path)) - before < 20, "work was given out although its results have no place"
    disk.clear()
    assert job.wait() == 0, job.output
    assert "there is room again after" in job.output
    assert job.output.count("No space left") == 1, job.output
    assert sorted(executed(tmp_path)) == list(range(TASKS)), "what waited in memory was run again"
    check_exactly_once(run_dir)


def test_a_run_that_is_told_to_stop_while_the_disk_is_full_says_what_is_lost(
    runner,
    small_disk,  # noqa: F811
    tmp_path,
):
    disk = small_disk("2m")
    run_dir = disk.path / "run"
    job = begin(runner, tmp_path, run_dir)
    disk.fill()
    job.until(lambda: "No space left on device" in job.output)
    job.process.send_signal(signal.SIGINT)
    check_clean_end(job)
    assert "told to stop while the disk is full" in job.output
    assert "all that finished before is on record" in job.output
    assert "mpiexec-runner resume" in job.output
    disk.clear()
    job = runner("resume", run_dir, "-n", 2)
    assert job.wait() == 0, job.output
    check_exactly_once(run_dir)


def test_large_results_wait_for_room_in_memory(runner, small_disk, tmp_path):  # noqa: F811
    disk = small_disk("2m")
    run_dir = disk.path / "run"
    tasks = 12
    job = runner("run", config(tmp_path, "array", tasks), "--run-dir", run_dir, "-n", 3)
    job.until(lambda: "No space left on device; make room" in job.output)
    disk.grow("32m")
    assert job.wait() == 0, job.output
    assert sorted(executed(tmp_path)) == list(range(tasks)), "what waited in memory was run again"
    directory = RunDirectory(run_dir)
    assert columns(read_results(directory))["state"] == ["succeeded"] * tasks


def outcomes(run_dir: Path) -> list[Outcome]:
    return [
        outcome
        for record in read_journal(run_dir / "journal")
        for event in record.events
        if isinstance(event, TasksFinished)
        for outcome in event.outcomes
    ]


def test_commands_are_not_charged_for_the_full_disk_of_their_run(
    runner,
    small_disk,  # noqa: F811
    tmp_path,
):
    """Their output has no place, though they have no retries; what begins meanwhile finds none either."""
    disk = small_disk("2m")
    run_dir = disk.path / "run"
    (tmp_path / "run.yaml").write_text(
        "name: full\nsweep:\n"
        f"  command: 'touch {tmp_path}/began-{{i}}; "
        f"while ! test -e {tmp_path}/gate; do sleep 0.05; done; seq 2000'\n"
        "  parameters: {i: {range: [0, 8]}}\n"
    )
    job = runner("run", "run.yaml", "--run-dir", run_dir, "-n", 3)
    assert job.until(lambda: len(list(tmp_path.glob("began-*"))) >= 2), job.output
    disk.fill()
    (tmp_path / "gate").touch()
    assert job.until(lambda: "Until there is room nothing new begins" in job.output), job.output
    disk.clear()
    assert job.wait() == 0, job.output
    assert "lost" not in job.output
    assert {outcome.verdict for outcome in outcomes(run_dir)} == {Verdict.SUCCEEDED}
    for path in run_dir.glob("tasks/*/*/stdout"):
        assert path.read_text().split() == [str(n) for n in range(1, 2001)]


# --- failing


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        ("write", "EIO", "Input/output error"),
        ("fsync", "EIO", "Input/output error"),
        ("write", "EROFS", "Read-only file system"),
        ("write", "ESTALE", "Stale file handle"),
    ],
)
def test_a_journal_that_fails_ends_the_run_and_loses_nothing(
    runner,
    faulty_disk: FaultyDisk,  # noqa: F811
    tmp_path,
    call,
    error,
    says,
):
    run_dir = tmp_path / "run"
    job = begin(runner, tmp_path, run_dir, **faulty_disk.variables)
    faulty_disk.fail(call, ".journal", error)
    check_clean_end(job)
    assert says in job.output, job.output
    assert f"{run_dir}/journal/000001.journal" in job.output
    assert json.loads((run_dir / "status.json").read_text())["exit_code"] == 5
    faulty_disk.mend()
    job = runner("resume", run_dir, "-n", 2, **faulty_disk.variables)
    assert job.wait() == 0, job.output
    check_exactly_once(run_dir)


def test_a_large_result_that_cannot_be_written_ends_the_run_and_its_task_is_run_again(
    runner,
    faulty_disk: FaultyDisk,  # noqa: F811
    tmp_path,
):
    run_dir, tasks = tmp_path / "run", 12
    faulty_disk.fail("fsync", "/blobs/", "EIO")
    job = runner(
        "run", config(tmp_path, "array", tasks), "--run-dir", run_dir, "-n", 3, **faulty_disk.variables
    )
    check_clean_end(job)
    assert ".blob: Input/output error" in job.output, job.output
    assert not [outcome for outcome in outcomes(run_dir) if outcome.blob is not None]
    faulty_disk.mend()
    job = runner("resume", run_dir, "-n", 2, **faulty_disk.variables)
    assert job.wait() == 0, job.output
    assert columns(read_results(RunDirectory(run_dir)))["state"] == ["succeeded"] * tasks


def test_a_task_directory_that_cannot_be_written_fails_its_task_alone(
    runner,
    faulty_disk: FaultyDisk,  # noqa: F811
    tmp_path,
):
    run_dir = tmp_path / "run"
    (tmp_path / "run.yaml").write_text(
        "name: disk\ntasks:\n"
        "  - {id: unlucky, command: 'true'}\n"
        "  - {id: mended, command: 'true', retries: {max: 0, on: {storage: {max: 20, backoff_s: 0.2}}}}\n"
        "  - {id: other, command: 'true'}\n"
    )
    for name in ("unlucky", "mended"):
        faulty_disk.fail("create", f"/{name}/", "EIO")
    job = runner("run", "run.yaml", "--run-dir", run_dir, "-n", 2, **faulty_disk.variables)
    assert job.until(lambda: "task unlucky failed" in job.output), job.output
    faulty_disk.mend()
    assert job.wait() == 1, job.output
    assert "task unlucky failed: OSError: [Errno 5] Input/output error" in job.output
    assert columns(read_results(RunDirectory(run_dir)))["state"] == ["failed", "succeeded", "succeeded"]


def test_a_quota_that_is_used_up_is_waited_for(runner, faulty_disk: FaultyDisk, tmp_path):  # noqa: F811
    """Over NFS that comes late, from fsync: what was written before may be gone then."""
    run_dir = tmp_path / "run"
    job = begin(runner, tmp_path, run_dir, **faulty_disk.variables)
    faulty_disk.fail("fsync", "/journal/", "EDQUOT")
    job.until(lambda: "your quota is used up" in job.output)
    faulty_disk.mend()
    assert job.wait() == 0, job.output
    assert "there is room again" in job.output
    check_exactly_once(run_dir)
    assert len(list((run_dir / "journal").glob("*.journal"))) > 1, "what failed was synced again"


def test_a_checkpoint_that_cannot_be_written_is_told_once_and_costs_nothing(
    runner,
    faulty_disk: FaultyDisk,  # noqa: F811
    tmp_path,
):
    run_dir = tmp_path / "run"
    path = config(tmp_path, more="checkpoint: {every_s: 0.1}")
    faulty_disk.fail("create", "/checkpoints/", "EIO")
    job = runner("run", path, "--run-dir", run_dir, "-n", 3, **faulty_disk.variables)
    assert job.wait() == 0, job.output
    assert job.output.count("The run goes on without") == 1, job.output
    assert "Traceback" not in job.output
    check_exactly_once(run_dir)


def test_results_that_cannot_be_written_are_made_by_a_resume(
    runner,
    faulty_disk: FaultyDisk,  # noqa: F811
    tmp_path,
):
    run_dir = tmp_path / "run"
    faulty_disk.fail("create", "results.h5", "EIO")
    job = begin(runner, tmp_path, run_dir, **faulty_disk.variables)
    check_clean_end(job)
    assert "results.h5" in job.output
    assert "All results are on record" in job.output
    faulty_disk.mend()
    job = runner("resume", run_dir, "-n", 2, **faulty_disk.variables)
    assert job.wait() == 0, job.output
    assert (run_dir / "results.h5").exists()
    assert len(executed(tmp_path)) == TASKS
    check_exactly_once(run_dir)


def test_a_status_that_cannot_be_written_at_first_is_told(
    runner,
    faulty_disk: FaultyDisk,  # noqa: F811
    tmp_path,
):
    run_dir = tmp_path / "run"
    faulty_disk.fail("create", "status.json", "EDQUOT")
    job = begin(runner, tmp_path, run_dir, **faulty_disk.variables)
    assert "status.json: Disk quota exceeded" in job.output
    faulty_disk.mend()
    assert job.wait() == 0, job.output
    assert json.loads((run_dir / "status.json").read_text())["state"] == "complete"


def test_a_run_directory_that_vanishes_ends_the_run(runner, tmp_path):
    run_dir = tmp_path / "run"
    job = begin(runner, tmp_path, run_dir)
    run_dir.rename(tmp_path / "elsewhere")
    check_clean_end(job)
    assert f"{run_dir} is gone" in job.output, job.output
    job = runner("resume", tmp_path / "elsewhere", "-n", 2)
    assert job.wait() == 0, job.output
    check_exactly_once(tmp_path / "elsewhere")


def test_a_run_directory_that_is_deleted_ends_the_run_soon(runner, tmp_path):
    run_dir = tmp_path / "run"
    job = begin(runner, tmp_path, run_dir)
    shutil.rmtree(run_dir, ignore_errors=True)
    check_clean_end(job)
    assert "is gone" in job.output or "see whether it was moved or deleted" in job.output, job.output


@pytest.mark.parametrize("call", ["square", "slow_array"])
def test_a_hub_goes_on_listening_while_the_disk_takes_its_time(
    runner,
    faulty_disk: FaultyDisk,  # noqa: F811
    tmp_path,
    call,
):
    """As over NFS: an fsync takes seconds, longer than workers may be silent.

    Results are on record meanwhile, large ones when their files are on disk; and checkpoints are written.
    """
    run_dir, takes_s, tasks = tmp_path / "run", 3.0, {"square": 400, "slow_array": 12}[call]
    path = config(
        tmp_path, call, tasks, "checkpoint: {every_s: 0.2}\nheartbeat: {interval_s: 0.2, timeout_s: 2}"
    )
    for part in (".journal", "checkpoint", ".blob"):
        faulty_disk.fail("fsync", part, "", int(takes_s * 1000))
    job = runner("run", path, "--run-dir", run_dir, "-n", 3, **faulty_disk.variables)
    assert job.until(lambda: len(executed(tmp_path)) >= tasks * 0.95), job.output
    faulty_disk.mend()
    assert job.wait() == 0, job.output
    assert "silent" not in job.output, job.output
    times = [record.now for record in read_journal(run_dir / "journal") if record.events]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert max(gaps) < takes_s - 1.0, "the hub waited for the disk"
    assert sorted(executed(tmp_path)) == list(range(tasks))
    assert columns(read_results(RunDirectory(run_dir)))["state"] == ["succeeded"] * tasks


# --- two on one directory


def gate(runner, tmp_path: Path, run_dir: Path):
    job = runner("run", config(tmp_path, "at_the_gate", 4), "--run-dir", run_dir, "-n", 3)
    assert job.until(lambda: (tmp_path / "began-0").exists()), job.output
    return job


def test_a_second_job_on_a_run_directory_is_refused(runner, tmp_path):
    run_dir = tmp_path / "run"
    first = gate(runner, tmp_path, run_dir)
    second = runner("resume", run_dir, "-n", 2)
    assert second.wait() == 2, second.output
    assert "is in use by pid" in second.output
    assert "wait for it to end, or end it" in second.output
    (tmp_path / "gate").touch()
    assert first.wait() == 0, first.output
    check_exactly_once(run_dir, 4)


def test_a_job_whose_directory_is_taken_over_ends_and_writes_no_further(runner, tmp_path):
    run_dir = tmp_path / "run"
    first = gate(runner, tmp_path, run_dir)
    second = runner("resume", run_dir, "-n", 2, "--take-over")
    check_clean_end(first)
    assert "is not ours any more" in first.output, first.output
    (tmp_path / "gate").touch()
    assert second.wait() == 0, second.output
    assert "did not give it back" in second.output
    status = json.loads((run_dir / "status.json").read_text())
    assert (status["epoch"], status["state"]) == (2, "complete")
    check_exactly_once(run_dir, 4)


def test_the_lease_of_a_host_that_died_is_free_after_a_minute(runner, tmp_path):
    run_dir = tmp_path / "run"
    job = begin(runner, tmp_path, run_dir)
    job.kill()
    for path in run_dir.glob("owner*"):
        owner = json.loads(path.read_text())
        path.write_text(json.dumps(owner | {"host": "far-away", "machine": "far-away boot pid"}))
    job = runner("resume", run_dir, "-n", 2)
    assert job.wait() == 2, job.output
    assert "on far-away" in job.output
    assert "try again 60 s after its end, or with --take-over" in job.output
    for path in run_dir.glob("owner*"):
        os.utime(path, (time.time() - 61, time.time() - 61))
    job = runner("resume", run_dir, "-n", 2)
    assert job.wait() == 0, job.output
    assert "far-away" in job.output
    check_exactly_once(run_dir)


def test_a_host_that_died_can_be_taken_over_at_once(runner, tmp_path):
    run_dir = tmp_path / "run"
    begin(runner, tmp_path, run_dir).kill()
    for path in run_dir.glob("owner*"):
        owner = json.loads(path.read_text())
        path.write_text(json.dumps(owner | {"host": "far-away", "machine": "far-away boot pid"}))
    job = runner("resume", run_dir, "-n", 2, "--take-over")
    assert job.wait() == 0, job.output
    check_exactly_once(run_dir)


# --- damaged


def killed_with_checkpoints(runner, tmp_path: Path) -> Path:
    """A run that was killed in the middle, with two checkpoints at least."""
    run_dir = tmp_path / "run"
    path = config(tmp_path, more="checkpoint: {every_s: 0.3}")
    job = runner("run", path, "--run-dir", run_dir, "-n", 3)
    assert job.until(lambda: len(checkpoints(run_dir)) >= 2), job.output
    job.kill()
    return run_dir


def checkpoints(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "checkpoints").glob("checkpoint-*.h5"))


def spoil(path: Path, share: float = 0.5) -> int:
    """Change some bytes in the middle of a file; where."""
    data = bytearray(path.read_bytes())
    at = int(len(data) * share)
    data[at : at + 8] = bytes(byte ^ 0xFF for byte in data[at : at + 8])
    path.write_bytes(data)
    return at


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 7)


def test_a_torn_tail_and_a_spoiled_checkpoint_fall_back(runner, tmp_path):
    run_dir = killed_with_checkpoints(runner, tmp_path)
    newest = checkpoints(run_dir)[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    job = runner("resume", run_dir, "-n", 3)
    assert job.wait() == 0, job.output
    assert f"{newest} cannot be used" in job.output
    assert "the one before it is taken" in job.output
    check_exactly_once(run_dir)


def test_without_a_good_checkpoint_the_journal_is_enough(runner, tmp_path):
    run_dir = killed_with_checkpoints(runner, tmp_path)
    for path in checkpoints(run_dir):
        path.write_bytes(b"\0" * 100)
    truncate(run_dir / "journal" / "000001.journal")
    job = runner("resume", run_dir, "-n", 3)
    assert job.wait() == 0, job.output
    assert "the last write was not finished" in job.output, job.output
    assert job.output.count("cannot be used") >= 2
    check_exactly_once(run_dir)


@pytest.mark.parametrize("with_checkpoints", [False, True])
def test_a_damaged_journal_is_named_and_salvaged_on_demand(runner, tmp_path, with_checkpoints):
    run_dir = killed_with_checkpoints(runner, tmp_path)
    if not with_checkpoints:
        for path in checkpoints(run_dir):
            path.unlink()
    segment = run_dir / "journal" / "000001.journal"
    spoil(segment, 0.3)
    job = runner("resume", run_dir, "-n", 3)
    check_clean_end(job)
    assert f"{segment} is damaged at byte" in job.output, job.output
    assert "--salvage" in job.output
    job = runner("resume", run_dir, "-n", 3, "--salvage")
    assert job.wait() == 0, job.output
    assert f"{segment}: skipped bytes" in job.output, job.output
    check_exactly_once(run_dir)
    job = runner("resume", run_dir, "-n", 2)  # what was given up is not told again as an error
    assert job.wait() == 0, job.output


def test_a_journal_that_lost_what_a_checkpoint_has_is_salvaged_on_demand(runner, tmp_path):
    run_dir = killed_with_checkpoints(runner, tmp_path)
    segment = run_dir / "journal" / "000001.journal"
    os.truncate(segment, segment.stat().st_size // 4)
    job = runner("resume", run_dir, "-n", 3)
    check_clean_end(job)
    assert f"{segment} ends at byte" in job.output, job.output
    assert "--salvage" in job.output
    job = runner("resume", run_dir, "-n", 3, "--salvage")
    assert job.wait() == 0, job.output
    check_exactly_once(run_dir)
