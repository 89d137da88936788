"""What launchers say of a death; the lines are as Open MPI 5.0, MPICH 5.0 and Slurm 22.05 print them."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from mpiexec_runner.app.obituary import Death, Witness, _lives

OPEN_MPI = b"""prterun noticed that process rank 2 with PID 7143 on node vm exited on
signal 9 (Killed).
"""
SLURM = b"srun: error: n1: task 3: Segmentation fault\nsrun: error: n1: task 0: Terminated\n"

VISIBLE = """
import os, time
from mpiexec_runner.app.obituary import live_visibly
live_visibly(os.environ)
print("visible", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (OPEN_MPI, Death(2, "vm", 9)),
        (SLURM, Death(3, "n1", 11)),
        (b"[mpiexec@vm] Exit codes: [vm] 0,9,11,9\n", Death(2, "vm", 11)),
        (b"[mpiexec@a] Exit codes: [a] 0,9 [b] 0,6\n", Death(3, "b", 6)),
        (b"[mpiexec@vm] Exit codes: [vm] 0,9,0\n", Death(1, "vm", 9)),
        (b"[mpiexec@vm] Exit codes: [vm] 9,9,0\n", None),
        (b"[mpiexec@vm] Exit codes: [vm] 0,200\n", None),
        (b"all is well\n", None),
    ],
    ids=[
        "Open MPI",
        "Slurm",
        "the odd one",
        "on another host",
        "the only one",
        "nobody knows",
        "no signal",
        "-",
    ],
)
def test_the_first_death_is_found_in_what_is_said(said, expected):
    witness = Witness()
    for at in range(0, len(said), 7):
        witness.hear(said[at : at + 7])
    assert witness.find_death() == expected
    witness.close()


def test_of_ranks_that_ended_alike_the_first_is_the_one_that_was_seen_to_end_first(tmp_path):
    witness = Witness()
    environ = witness.watch(str(tmp_path))
    ranks = [
        subprocess.Popen([sys.executable, "-c", VISIBLE], env=os.environ | environ | {"PMI_RANK": str(rank)},
                         stdout=subprocess.PIPE)
        for rank in range(4)
    ]  # fmt: skip
    for rank in ranks:
        assert rank.stdout.readline()
    for number in (3, 2, 0, 1):
        ranks[number].kill()
        ranks[number].communicate(timeout=100)
    witness.hear(b"[mpiexec@vm] Exit codes: [vm] 9,9,9,0\n")
    assert witness.find_death() == Death(2, "vm", 9)
    witness.close()


def test_the_end_of_a_rank_that_was_seen_is_noticed():
    script = "sh -c 'sleep 300; :' sh rank dir & sh -c 'sleep 300; :' sh else & echo; wait"
    with subprocess.Popen(
        ["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True
    ) as launcher:
        try:
            assert launcher.stdout.readline()
            witness = Witness("rank", "dir")
            children = psutil.Process(launcher.pid).children()
            rank = wait_for(lambda: [child for child in children if "rank" in child.cmdline()])[0]
            other = wait_for(lambda: [child for child in children if "else" in child.cmdline()])[0]
            witness.look(launcher.pid)
            other.kill()
            wait_for(lambda: not _lives(other))
            witness.look(launcher.pid)
            assert not witness.has_lost_one
            rank.kill()
            wait_for(lambda: not _lives(rank))
            witness.look(launcher.pid)
            assert witness.has_lost_one
            witness.close()
        finally:
            os.killpg(launcher.pid, signal.SIGKILL)


def wait_for(what):
    give_up = time.monotonic() + 60
    while not (found := what()):
        assert time.monotonic() < give_up
        time.sleep(0.005)
    return found


def test_that_all_ranks_ended_well_is_not_for_people():
    witness = Witness()
    assert witness.hear(b"done\n[mpiexec@vm] Exit codes: [vm] 0,0 [vn] 0\n") == b"done\n"
    assert witness.hear(b"[mpiexec@vm] Exit codes: [vm] 0,9\n") == b"[mpiexec@vm] Exit codes: [vm] 0,9\n"
    witness.close()


def test_it_is_said_with_rank_host_and_signal():
    assert str(Death(2, "vm", 9)) == "rank 2 on host vm was ended by SIGKILL"
