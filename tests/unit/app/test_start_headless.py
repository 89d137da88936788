"""Whether anybody leads a run: what the launching process goes by when the ranks do not end by themselves."""

import subprocess
import sys

from mpiexec_runner.app import start
from mpiexec_runner.app.obituary import Witness
from mpiexec_runner.app.start import _is_headless, _Over
from mpiexec_runner.storage.rundir import RunDirectory

HUB = """
import sys, pathlib
from mpiexec_runner.storage.lease import Lease
lease = Lease.acquire(pathlib.Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
lease.release()
"""


def start_hub(path):
    hub = subprocess.Popen(
        [sys.executable, "-c", HUB, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert hub.stdout.readline() == "taken\n"
    return hub


def test_a_hub_that_was_killed_leaves_its_run_headless(tmp_path, monkeypatch):
    directory = RunDirectory(tmp_path)
    assert not _is_headless(directory, 0), "nobody has led it yet"
    with start_hub(tmp_path) as hub:
        try:
            assert not _is_headless(directory, 0)
        finally:
            hub.kill()
        hub.wait(30)
    assert _is_headless(directory, 0)
    assert not _Over(directory, 0, Witness())(), "another rank may follow it"
    monkeypatch.setattr(start, "TAKE_OVER_WITHIN_S", 0.0)
    assert _Over(directory, 0, Witness())()
    assert not _is_headless(directory, 1), "the hub of an earlier life says nothing of this one"


def test_a_hub_that_left_in_order_is_no_loss(tmp_path):
    with start_hub(tmp_path) as hub:
        hub.communicate("", timeout=400)
    assert not _is_headless(RunDirectory(tmp_path), 0)


def test_nobody_follows_before_the_run_has_begun(tmp_path):
    directory, witness = RunDirectory(tmp_path), Witness()
    assert not _Over(directory, 0, witness)()
    witness.has_lost_one = True
    assert _Over(directory, 0, witness)()
    with start_hub(tmp_path) as hub:
        try:
            assert not _Over(directory, 0, witness)(), "the hub knows what to do about it"
        finally:
            hub.kill()
