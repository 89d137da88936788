"""The diagnosis where something is wrong: no MPI needed, nothing launched."""

import threading
from pathlib import Path

import pytest

from mpiexec_runner.app import doctor
from mpiexec_runner.app.checks import hardware, places, software
from mpiexec_runner.app.checks.finding import Finding, Status, in_size, ok
from mpiexec_runner.errors import UserError

MOUNTS = """\
overlay / overlay rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
server:/export /home nfs4 rw 0 0
disk /home/u/my\\040disk ext4 rw 0 0
a /mnt xfs rw 0 0
b /mnt ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/tmp/x", ("/", "overlay")),
        ("/home/u", ("/home", "nfs4")),
        ("/homes/u", ("/", "overlay")),
        ("/home/u/my disk/runs", ("/home/u/my disk", "ext4")),
        ("/mnt/x", ("/mnt", "ext4")),
    ],
)
def test_the_file_system_of_a_path(path: str, mount: tuple[str, str]) -> None:
    assert places.find_mount(Path(path), MOUNTS) == mount


def test_a_good_folder_is_found_good_and_left_empty(tmp_path: Path) -> None:
    findings = places.check_file_system(tmp_path / "runs" / "yet" / "to be made")
    assert [finding.name for finding in findings] == [
        "run directory",
        "file operations",
        "fsync",
        "free space",
    ]
    assert Status.ERROR not in {finding.status for finding in findings}
    assert list(tmp_path.iterdir()) == []


def test_without_hard_links_no_run_is_safe(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(places.os, "link", refuse)
    finding = {finding.name: finding for finding in places.check_file_system(tmp_path)}["file operations"]
    assert finding.status is Status.ERROR
    assert "hard link does not work here: Operation not permitted" in finding.text
    assert finding.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(places.tempfile, "TemporaryDirectory", refuse)
    (finding,) = places.check_file_system(tmp_path)
    assert finding.status is Status.ERROR
    assert f"cannot write in {tmp_path}: Read-only file system" in finding.text


def test_slow_syncs_are_a_warning(tmp_path: Path, monkeypatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(places.time, "perf_counter", lambda: float(next(ticks)))
    finding = {finding.name: finding for finding in places.check_file_system(tmp_path)}["fsync"]
    assert (finding.status, finding.text) == (Status.WARNING, "fsync takes 1000.0 ms (worst of 5: 1000.0 ms)")


def test_a_missing_package_is_an_error_with_a_command(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(software, "_version", lambda name: "" if name == "h5py" else "1.0")
    _, packages = software.check_python(tmp_path)
    assert packages == Finding("packages", Status.ERROR, "missing: h5py", "pip install h5py")


def test_hdf5_is_written_and_read_back(tmp_path: Path) -> None:
    (finding,) = software.check_hdf5(tmp_path)
    assert finding.status is Status.OK
    assert list(tmp_path.iterdir()) == []


def test_a_broken_hdf5_is_an_error(tmp_path: Path, monkeypatch) -> None:
    script = "raise OSError('unable to lock file, errno = 37')"
    monkeypatch.setattr(software, "_WRITE_AND_READ_BACK", script)
    (finding,) = software.check_hdf5(tmp_path)
    assert finding.status is Status.ERROR
    assert "HDF5_USE_FILE_LOCKING" in finding.remedy


def test_a_tight_quota_is_a_warning(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(hardware.machine, "affinity_cores", lambda: 8)
    monkeypatch.setattr(hardware.machine, "find_cpu_quota", lambda: 1.5)
    cores, _ = hardware.check_cores(tmp_path)
    assert cores.status is Status.WARNING
    assert cores.text.startswith("2 usable of ")
    assert "quota 1.5" in cores.text


def test_little_shared_memory_is_a_warning(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(hardware.machine, "usable_cores", lambda: 10**6)
    (finding,) = hardware.check_shared_memory(tmp_path)
    assert finding.status is Status.WARNING
    monkeypatch.setattr(hardware, "_SHARED_MEMORY", tmp_path / "none")
    (finding,) = hardware.check_shared_memory(tmp_path)
    assert "is missing" in finding.text


def test_checks_that_fail_or_hang_become_findings(tmp_path: Path) -> None:
    release = threading.Event()

    def wrong(_: Path) -> list[Finding]:
        raise UserError("no such luck")

    def broken(_: Path) -> list[Finding]:
        raise ZeroDivisionError("oops")

    def hangs(_: Path) -> list[Finding]:
        release.wait(30)
        return []

    def fine(_: Path) -> list[Finding]:
        return [ok("fine", "yes")]

    checks = (("wrong", wrong, 5.0), ("broken", broken, 5.0), ("hangs", hangs, 0.05), ("fine", fine, 5.0))
    try:
        findings = doctor.diagnose(tmp_path, checks)
    finally:
        release.set()
    assert [(finding.name, finding.status) for finding in findings] == [
        ("wrong", Status.ERROR), ("broken", Status.ERROR), ("hangs", Status.ERROR), ("fine", Status.OK)
    ]  # fmt: skip
    assert findings[0].text == "no such luck"
    assert "ZeroDivisionError: oops" in findings[1].text
    assert findings[2].text == "no answer within 0.05 s"
    assert all(finding.remedy for finding in findings[:3])


@pytest.mark.parametrize(("size", "text"), [(512, "512 B"), (16 * 2**20, "16 MiB"), (3 * 2**39, "1.5 TiB")])
def test_sizes_are_written_for_people(size: int, text: str) -> None:
    assert in_size(size) == text
