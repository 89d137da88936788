"""What a configuration asks of the scheduler, on real ranks: dependencies, needs, limits, additions."""

import json
import os
import sys

import pytest

from mpiexec_runner.app.explain import read_state
from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.storage.rundir import RunDirectory

pytestmark = [
    pytest.mark.launches,
    pytest.mark.skipif(launched_ranks(os.environ) is not None, reason="a rank cannot launch ranks"),
]

MODULE = """
import time

def fill(megabytes):
    block = bytearray(megabytes * 2**20)
    time.sleep(3)  # to be looked at
    return len(block)

def grow(n):
    from mpiexec_runner import add_tasks
    add_tasks([{"id": f"leaf-{i}", "call": "work:square", "with": {"i": i}} for i in range(n)])

def square(i):
    return i * i
"""
NEEDS = """
workers: {slots: 2}
tasks:
  - id: fill
    call: "work:fill"
    with: {megabytes: 300}
    resources: {memory: 100MiB}
    retries: {max: 1, backoff_s: 0.1, on: {memory: {memory: 8}}}
  - {id: impossible, command: "true", resources: {gpus: 99}}
  - {id: grow, call: "work:grow", with: {n: 3}}
  - {id: threads, command: "echo $OMP_NUM_THREADS", resources: {cpus: 1}}
  - id: nested
    command: [PYTHON, -c, "from mpi4py import MPI; print(MPI.COMM_WORLD.size)"]
    resources: {ranks: 2}
"""
ON_A_DEVICE = """
  - id: device-%d
    command: >-
      echo $CUDA_VISIBLE_DEVICES; cd ../../..;
      mkdir gpu-$CUDA_VISIBLE_DEVICES && sleep 0.1 && rmdir gpu-$CUDA_VISIBLE_DEVICES
    resources: {gpus: 1}
"""
WORKFLOW = """
workflow:
  bad: {command: "exit 3"}
  after: {command: "true", depends_on: bad}
  later: {command: "true", depends_on: after}
  rescue: {command: "true", depends_on: bad, when: failure}
  idle: {command: "true", depends_on: rescue, when: failure}
  report: {command: "true", depends_on: [later, rescue], when: any}
"""
LIMITED = """
sweep:
  command: "cd ../../..; mkdir running-{i}; ls -d running-* | wc -l; sleep 0.05; rmdir running-{i}"
  parameters: {i: {range: [0, 12]}}
  labels: [licence]
workers: {slots: 4}
limits: {per_label: {licence: 2}}
"""


def run(runner, directory, text, ranks, *options, **variables):
    (directory / "work.py").write_text(MODULE)
    (directory / "c.yaml").write_text(text)
    job = runner("run", "c.yaml", "-n", ranks, "--run-dir", "run", *options, **variables)
    code = job.wait()
    shown = runner("results", "run", "--format", "json")
    assert shown.wait() == 0, job.output + shown.output
    return code, {task["name"]: task for task in json.loads(shown.output)}


def stdout_of(directory, task):
    return (directory / "run" / "tasks" / "0000-0999" / task / "stdout").read_text()


def test_needs_are_met_or_refused(runner, tmp_path):
    text = NEEDS.replace("PYTHON", sys.executable) + "".join(ON_A_DEVICE % n for n in range(8))
    code, table = run(runner, tmp_path, text, 3, CUDA_VISIBLE_DEVICES="0,1,5,7")
    assert code == 1, table
    states = {name: task["state"] for name, task in table.items()}
    assert states.pop("impossible") == "failed"
    assert set(states.values()) == {"succeeded"}, table
    assert "99 gpus" in table["impossible"]["error"]
    assert (table["fill"]["attempts"], table["fill"]["result"]) == (2, 300 * 2**20)
    assert [table[f"leaf-{i}"]["result"] for i in range(3)] == [0, 1, 4]
    assert stdout_of(tmp_path, "threads") == "1\n"
    assert stdout_of(tmp_path, "nested") == "2\n2\n"
    # Two at once on one device would have failed.
    assert {stdout_of(tmp_path, f"device-{n}").strip() for n in range(8)} <= {"0", "1", "5", "7"}
    (violation,) = read_state(RunDirectory.open(tmp_path / "run")).violations
    assert (violation.kind, violation.limit) == ("memory", 100 * 2**20)
    assert violation.value > violation.limit


def test_dependents_of_a_failure_are_skipped_and_said(runner, tmp_path):
    code, table = run(runner, tmp_path, WORKFLOW, 2)
    assert code == 1
    assert {name: task["state"] for name, task in table.items()} == {
        "bad": "failed",
        "after": "skipped",
        "later": "skipped",
        "rescue": "succeeded",
        "idle": "skipped",
        "report": "succeeded",
    }
    assert "bad" in table["after"]["error"]
    assert "after" in table["later"]["error"]
    assert "nothing failed" in table["idle"]["error"]


@pytest.mark.parametrize("placement", ["dynamic", "capability", "weighted", "priority", "locality"])
def test_a_limit_holds_with_every_placement(runner, tmp_path, placement):
    code, table = run(runner, tmp_path, LIMITED, 3, "--set", f"scheduler.placement={placement}")
    assert code == 0, table
    seen = [int(stdout_of(tmp_path, f"task_{n:04d}")) for n in range(1, 13)]
    assert max(seen) <= 2
