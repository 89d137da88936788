"""Finding the launcher, with scripts that answer like one first on PATH."""

from pathlib import Path

import pytest

from mpiexec_runner.app import launcher as module
from mpiexec_runner.app.launcher import Preference, choose_srun_type, find_launcher, read_version
from mpiexec_runner.errors import UserError
from mpiexec_runner.transport.mpi_library import MpiLibrary, Vendor, classify, find_library_path

OPEN_MPI_5 = "mpiexec (Open MPI) 5.0.11\n\nReport bugs to https://www.open-mpi.org/community/help/"
OPEN_MPI_4 = "mpiexec (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/"
MPICH = "HYDRA build details:\n    Version:                                 5.0.2\n    Release Date: then"
INTEL = "Intel(R) MPI Library for Linux* OS, Version 2021.9 Build 20230307 (id: d82b3071db)"
SRUN_22 = "MPI plugin types are...\n\tpmix\n\tnone\n\tpmi2\nspecific pmix plugin versions available: pmix_v4"


def library(vendor: Vendor, major: int, path: Path | None = None, *, ulfm: bool = False) -> MpiLibrary:
    return MpiLibrary(vendor, (major, 0, 0), "", path, ulfm)


def put(folder: Path, name: str, says: str, code: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / name
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\nexit {code}\n")
    script.chmod(0o755)
    return script


@pytest.fixture(autouse=True)
def _no_launcher_beside_python(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "python" / "bin" / "python"))


def environ(*folders: Path) -> dict[str, str]:
    # The scripts above need cat.
    return {"PATH": ":".join([*map(str, folders), "/bin"])}


@pytest.mark.parametrize(
    ("answer", "vendor", "version"),
    [
        (OPEN_MPI_5, Vendor.OPEN_MPI, (5, 0, 11)),
        (OPEN_MPI_4, Vendor.OPEN_MPI, (4, 1, 4)),
        (MPICH, Vendor.MPICH, (5, 0, 2)),
        (INTEL, Vendor.INTEL_MPI, (2021, 9)),
        ("mpiexec: command of another kind", Vendor.OTHER, ()),
        ("", Vendor.OTHER, ()),
    ],
)
def test_versions_are_read(answer: str, vendor: Vendor, version: tuple[int, ...]) -> None:
    assert read_version(answer) == (vendor, version)


def test_what_is_first_on_path_is_not_trusted(tmp_path: Path) -> None:
    put(tmp_path / "a", "mpiexec", OPEN_MPI_5)
    fits = put(tmp_path / "b", "mpiexec", MPICH)
    found = find_launcher(library(Vendor.MPICH, 5), "auto", environ(tmp_path / "a", tmp_path / "b"))
    assert (found.kind, found.path, found.vendor, found.version) == (
        Preference.MPIEXEC, fits, Vendor.MPICH, (5, 0, 2)
    )  # fmt: skip
    assert not found.ulfm


def test_beside_the_library_comes_first(tmp_path: Path) -> None:
    put(tmp_path / "path", "mpiexec", OPEN_MPI_5)
    beside = put(tmp_path / "mpi" / "bin", "mpiexec", OPEN_MPI_5)
    lib = library(Vendor.OPEN_MPI, 5, tmp_path / "mpi" / "lib" / "libmpi.so.40", ulfm=True)
    found = find_launcher(lib, "mpiexec", environ(tmp_path / "path"))
    assert found.path == beside
    assert found.ulfm


def test_a_library_that_is_a_link_is_followed(tmp_path: Path) -> None:
    beside = put(tmp_path / "openmpi" / "bin", "mpiexec", OPEN_MPI_5)
    real = tmp_path / "openmpi" / "lib" / "libmpi.so.40"
    real.parent.mkdir()
    real.write_bytes(b"")
    link = tmp_path / "lib" / "libmpi.so.40"
    link.parent.mkdir()
    link.symlink_to(real)
    assert find_launcher(library(Vendor.OPEN_MPI, 5, link), "auto", environ()).path == beside


def test_beside_python_comes_before_path(tmp_path: Path) -> None:
    put(tmp_path / "path", "mpiexec", MPICH)
    beside = put(tmp_path / "python" / "bin", "mpiexec", MPICH)
    assert find_launcher(library(Vendor.MPICH, 5), "auto", environ(tmp_path / "path")).path == beside


def test_distributions_name_it_after_the_vendor(tmp_path: Path) -> None:
    put(tmp_path, "mpiexec", OPEN_MPI_5)
    named = put(tmp_path, "mpiexec.mpich", MPICH)
    assert find_launcher(library(Vendor.MPICH, 4), "auto", environ(tmp_path)).path == named


def test_without_ulfm_in_the_library_none_in_the_launcher(tmp_path: Path) -> None:
    put(tmp_path, "mpiexec", OPEN_MPI_5)
    assert not find_launcher(library(Vendor.OPEN_MPI, 5), "auto", environ(tmp_path)).ulfm


def test_all_that_was_found_is_listed_with_its_reason(tmp_path: Path) -> None:
    put(tmp_path / "a", "mpiexec", MPICH)
    put(tmp_path / "b", "mpiexec", OPEN_MPI_4)
    put(tmp_path / "c", "mpiexec", "no such option", code=1)
    put(tmp_path / "d", "mpiexec", "hello").chmod(0o644)
    folders = [tmp_path / name for name in "abcd"]
    with pytest.raises(UserError) as caught:
        find_launcher(library(Vendor.OPEN_MPI, 5), "auto", environ(*folders))
    message = str(caught.value)
    assert f"{tmp_path}/a/mpiexec: belongs to MPICH 5.0.2" in message
    assert f"{tmp_path}/b/mpiexec: belongs to Open MPI 4.1.4, another major version" in message
    assert f"{tmp_path}/c/mpiexec: not a launcher of an MPI that is known here (no such option)" in message
    assert f"{tmp_path}/d/mpiexec" not in message
    assert "mpiexec-runner[openmpi]" in message


def test_a_launcher_that_hangs_or_cannot_start_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "ANSWER_WITHIN_S", 0.2)
    hangs = put(tmp_path / "a", "mpiexec", "")
    hangs.write_text("#!/bin/sh\nexec sleep 5\n")
    put(tmp_path / "b", "mpiexec", "").write_text("#!/no/such/interpreter\n")
    with pytest.raises(UserError) as caught:
        find_launcher(library(Vendor.MPICH, 5), "auto", environ(tmp_path / "a", tmp_path / "b"))
    assert "no answer within 0.2 s" in str(caught.value)
    assert "cannot be started: No such file or directory" in str(caught.value)


def test_srun_when_asked_for(tmp_path: Path) -> None:
    put(tmp_path, "mpiexec", MPICH)
    srun = put(tmp_path, "srun", SRUN_22)
    found = find_launcher(library(Vendor.MPICH, 5), "srun", environ(tmp_path))
    assert (found.kind, found.path, found.mpi_type) == (Preference.SRUN, srun, "pmi2")


def test_srun_on_its_own_only_inside_a_job(tmp_path: Path) -> None:
    put(tmp_path, "srun", SRUN_22)
    lib = library(Vendor.OPEN_MPI, 5, ulfm=True)
    inside = environ(tmp_path) | {"SLURM_JOB_ID": "7"}
    found = find_launcher(lib, "auto", inside)
    assert (found.kind, found.mpi_type, found.ulfm) == (Preference.SRUN, "pmix", False)
    for prefer, env in (("auto", environ(tmp_path)), ("mpiexec", inside)):
        with pytest.raises(UserError, match="no launcher fits"):
            find_launcher(lib, prefer, env)


def test_srun_that_does_not_fit_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="srun: not found on PATH"):
        find_launcher(library(Vendor.MPICH, 5), "srun", {"PATH": str(tmp_path)})
    put(tmp_path, "srun", "MPI plugin types are...\n\tnone\n\tpmix")
    with pytest.raises(UserError, match="offers none of pmi2"):
        find_launcher(library(Vendor.MPICH, 5), "srun", environ(tmp_path))


@pytest.mark.parametrize(
    ("vendor", "listed", "chosen"),
    [
        (Vendor.OPEN_MPI, SRUN_22, "pmix"),
        (
            Vendor.OPEN_MPI,
            "srun: MPI types are...\nsrun: none\nsrun: pmi2\nsrun: pmix_v3\nsrun: pmix_v4",
            "pmix_v4",
        ),
        (Vendor.OPEN_MPI, "none pmi2", None),
        (Vendor.MPICH, SRUN_22, "pmi2"),
        (Vendor.MPICH, "none pmix", None),
        (Vendor.OTHER, "none cray_shasta pmi2", "cray_shasta"),
        (Vendor.INTEL_MPI, "", None),
    ],
)
def test_the_type_for_srun_goes_by_the_vendor(vendor: Vendor, listed: str, chosen: str | None) -> None:
    assert choose_srun_type(vendor, listed) == chosen


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("Open MPI", Vendor.OPEN_MPI),
        ("MPICH", Vendor.MPICH),
        ("MVAPICH2", Vendor.MPICH),
        ("Intel MPI", Vendor.INTEL_MPI),
        ("Cray MPICH", Vendor.OTHER),
        ("unknown", Vendor.OTHER),
    ],
)
def test_vendors_are_classified(name: str, vendor: Vendor) -> None:
    assert classify(name) is vendor


def test_the_library_is_found_among_mapped_files() -> None:
    line = "7f00-7f01 r-xp 00000000 08:01 42    {}"
    others = [
        "/x/site-packages/mpi4py/MPI.mpich.cpython-311-x86_64-linux-gnu.so",
        "/x/lib/libmpi_mpifh.so.40",
        "",
        "[heap]",
    ]
    maps = [line.format(path) for path in others]
    assert find_library_path("\n".join(maps)) is None
    maps += [line.format("/x y/lib/libmpi.so.40.40.7"), line.format("/z/lib/libopen-pal.so.80")]
    assert find_library_path("\n".join(maps)) == Path("/x y/lib/libmpi.so.40.40.7")
