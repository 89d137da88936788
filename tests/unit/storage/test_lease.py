"""One process at a time owns a run directory; the dead are told from the living."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from mpiexec_runner.errors import StorageError, UserError
from mpiexec_runner.storage.lease import Lease
from mpiexec_runner.storage.owner import STALE_S, Owner, find_owner, is_alive, this_process

TAKE = """
import sys
from pathlib import Path
from mpiexec_runner.storage.lease import Lease
from mpiexec_runner.errors import UserError
print("ready", flush=True)
sys.stdin.readline()
try:
    print(Lease.acquire(Path(sys.argv[1])).epoch, flush=True)
except UserError as error:
    print(error, flush=True)
sys.stdin.readline()
"""


def start_taker(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TAKE, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def tell(taker: subprocess.Popen[str], line: str = "go\n") -> None:
    assert taker.stdin is not None
    taker.stdin.write(line)
    taker.stdin.flush()


def hear(taker: subprocess.Popen[str]) -> str:
    assert taker.stdout is not None
    return taker.stdout.readline().strip()


def write_owner(directory: Path, **changes: object) -> Owner:
    owner = msgspec.structs.replace(this_process(3), **changes)
    (directory / "owner").write_bytes(msgspec.json.encode(owner))
    return owner


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_every_life_has_a_larger_epoch(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        lease = Lease.acquire(tmp_path)
        assert lease.epoch == epoch
        assert lease.notes == []
        lease.renew()
        lease.release()
        lease.release()
    assert names(tmp_path) == ["owner", "owner.3"]


def test_a_directory_in_use_is_refused_with_who_and_what_to_do(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    Lease.acquire(tmp_path)
    who = rf"in use by pid {os.getpid()} on {socket.gethostname()} \(job 4711\).*wait for it to end"
    with pytest.raises(UserError, match=who):
        Lease.acquire(tmp_path)


@pytest.mark.timeout(300)
def test_of_two_processes_at_once_exactly_one_gets_it(tmp_path: Path) -> None:
    for _ in range(3):
        takers = [start_taker(tmp_path) for _ in range(2)]
        assert [hear(taker) for taker in takers] == ["ready", "ready"]
        for taker in takers:
            tell(taker)
        answers = [hear(taker) for taker in takers]
        assert sum(answer.isdecimal() for answer in answers) == 1, answers
        assert any("in use by" in answer or "just now" in answer for answer in answers), answers
        for taker in takers:
            taker.communicate("end\n")


@pytest.mark.timeout(300)
def test_what_a_killed_process_had_is_taken_with_a_note(tmp_path: Path) -> None:
    taker = start_taker(tmp_path)
    hear(taker)
    tell(taker)
    assert hear(taker) == "1"
    taker.kill()
    taker.communicate()
    lease = Lease.acquire(tmp_path)
    assert lease.epoch == 2
    assert f"last owned by pid {taker.pid} on" in lease.notes[0]


def test_another_process_with_the_same_pid_is_not_the_owner(tmp_path: Path) -> None:
    write_owner(tmp_path, pid_start=this_process(1).pid_start - 1)
    assert Lease.acquire(tmp_path).epoch == 4


def test_an_owner_elsewhere_counts_as_long_as_it_shows_signs_of_life(tmp_path: Path) -> None:
    owner = write_owner(tmp_path, host="elsewhere", machine="elsewhere")
    assert is_alive(tmp_path, owner)
    with pytest.raises(UserError, match=r"on elsewhere.*try again 60 s after its end, or with --take-over"):
        Lease.acquire(tmp_path)
    long_ago = time.time() - STALE_S - 5
    os.utime(tmp_path / "owner", (long_ago, long_ago))
    assert Lease.acquire(tmp_path).epoch == 4


def test_who_was_taken_over_learns_it_and_gives_nothing_back(tmp_path: Path) -> None:
    old = Lease.acquire(tmp_path)
    new = Lease.acquire(tmp_path, take_over=True)
    for verb in (old.renew, old.release):
        with pytest.raises(StorageError, match=r"fenced.*epoch 1"):
            verb()
    new.renew()
    assert new.epoch == 2


def test_one_who_slept_through_a_take_over_does_not_win_an_old_epoch(tmp_path: Path, monkeypatch) -> None:
    """It looked when epoch 1 was dead; 2 came and went, 3 is there, and the name of 2 is free again."""
    seen_long_ago = write_owner(tmp_path, epoch=1, pid_start=1)
    current = write_owner(tmp_path, epoch=3)
    answers = [seen_long_ago]
    monkeypatch.setattr(
        "mpiexec_runner.storage.lease.find_owner", lambda d: answers.pop() if answers else find_owner(d)
    )
    with pytest.raises(UserError, match="just now"):
        Lease.acquire(tmp_path)
    assert find_owner(tmp_path) == current


def test_a_claim_whose_owner_died_before_telling_everybody_is_stale(tmp_path: Path) -> None:
    write_owner(tmp_path, epoch=3, released=True)
    dead = msgspec.structs.replace(this_process(4), pid_start=1)
    (tmp_path / "owner.4").write_bytes(msgspec.json.encode(dead))
    assert Lease.acquire(tmp_path).epoch == 5
    assert names(tmp_path) == ["owner", "owner.5"]


def test_an_unreadable_owner_file_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "owner").write_text("{")
    with pytest.raises(StorageError, match="remove that file"):
        Lease.acquire(tmp_path)
