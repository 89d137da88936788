"""Modes and groups under a real launcher."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from mpiexec_runner.app.launch import end_launched, launch_command
from mpiexec_runner.app.launcher import find_launcher
from mpiexec_runner.execute.machine import usable_cores
from mpiexec_runner.storage.results import columns, read_results
from mpiexec_runner.storage.rundir import RunDirectory
from mpiexec_runner.transport.mpi_library import find_library

pytestmark = pytest.mark.launches

MODULE = """
import asyncio, threading
def where(x): return f"{threading.current_thread().name.split('-')[0]} {x}"
async def later(x):
    await asyncio.sleep(0)
    return where(x)
"""


def test_calls_in_threads_and_in_the_event_loop(runner, tmp_path: Path) -> None:
    (tmp_path / "where.py").write_text(MODULE)
    (tmp_path / "run.yaml").write_text(
        "name: modes\nworkers: {slots: 3}\ntasks:\n"
        "  - {call: 'where:where', with: {x: 1}, mode: thread}\n"
        "  - {call: 'where:later', with: {x: 2}, mode: asyncio}\n"
        "  - {call: 'where:later', with: {x: 3}}\n"
    )
    program = runner("run", "run.yaml", "-n", 2)
    assert program.wait() == 0, program.output
    results = columns(read_results(RunDirectory.open(tmp_path / "runs" / "latest")))
    assert list(results["result"]) == ["task 1", "event 2", "event 3"]


SPECULATIVE = """
name: race
scheduler: {speculation: true}
workflow:
  solve:
    for_each: {i: [0, 1, 2, 3, 4, 5]}
    command: |
      cd $MPIEXEC_RUNNER_TASK_DIR
      if [ {i} = 5 ] && [ $MPIEXEC_RUNNER_ATTEMPT = 1 ]; then
        trap 'echo loser > $MPIEXEC_RUNNER_TASK_DIR/answer; exit 1' TERM
        sleep 100 & wait
      fi
      sleep 0.2
      echo $MPIEXEC_RUNNER_TASK_DIR > answer
  report:
    depends_on: solve
    command: "true"
    with: {places: "{{ solve.all.dir }}"}
"""


def test_the_directory_of_a_second_attempt_that_wins_is_the_task_s(runner, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(SPECULATIVE)
    program = runner("run", "run.yaml", "-n", 3, "--run-dir", "run")
    assert program.wait() == 0, program.output
    tasks = tmp_path / "run" / "tasks" / "0000-0999"
    told = json.loads((tasks / "report" / "params.json").read_text())["places"][-1]
    assert told.endswith("solve-0006~2")
    # The first attempt was asked to end, and answered to the path that it knew: it has another name now.
    assert (tasks / "solve-0006" / "answer").read_text().strip() == told
    assert Path(told, "answer").read_text().strip() == told
    assert (tasks / "solve-0006~lost" / "answer").read_text() == "loser\n"


def test_a_group_that_loses_a_rank_is_ended_and_the_others_go_on(tmp_path: Path, environ) -> None:
    library = find_library()
    launcher = find_launcher(library, "auto", os.environ)
    if not launcher.ulfm:
        pytest.skip("this MPI ends the job when a rank dies")
    tests = Path(__file__).parents[1]
    folders = [str(tests / name) for name in ("launch", "mpi", "unit/runtime")]
    environ["PYTHONPATH"] = os.pathsep.join([*folders, environ["PYTHONPATH"]])
    plan = launch_command(launcher, 4, [], environ, usable_cores(), module="lost_member")
    log = tmp_path / "log"
    with log.open("wb") as out:
        program = subprocess.Popen(
            plan.argv, env=plan.environ, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        program.wait(90)
    finally:
        if program.poll() is None:
            end_launched(program)
    assert "[3] ['CANCELLED', 'CANCELLED'] [1, 2]" in log.read_text()
