"""The diagnosis that ``mpiexec-runner doctor`` prints: every check, each with its own time-out.

Knows the list of checks, not what they look at, nor how findings are shown.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from mpiexec_runner.app.checks.batch_system import check_batch_system
from mpiexec_runner.app.checks.finding import Finding, error
from mpiexec_runner.app.checks.hardware import check_cores, check_shared_memory, check_threads, check_user
from mpiexec_runner.app.checks.mpi import check_mpi
from mpiexec_runner.app.checks.places import check_file_system
from mpiexec_runner.app.checks.software import check_hdf5, check_python
from mpiexec_runner.errors import UserError

Check = Callable[[Path], list[Finding]]

CHECKS: tuple[tuple[str, Check, float], ...] = (
    ("python", check_python, 30.0),
    # Two probe jobs and a version question for each launcher found.
    ("mpi", check_mpi, 300.0),
    ("hdf5", check_hdf5, 60.0),
    ("batch system", check_batch_system, 60.0),
    ("cores", check_cores, 10.0),
    ("shared memory", check_shared_memory, 10.0),
    ("run directory", check_file_system, 60.0),
    ("threads", check_threads, 10.0),
    ("user", check_user, 10.0),
)
"""Name, check, and the seconds it may take."""


def diagnose(directory: Path, checks: Sequence[tuple[str, Check, float]] = CHECKS) -> list[Finding]:
    """Look at everything that a run depends on.

    Parameters
    ----------
    directory
        Where runs are, or will be, kept; it need not exist. What is tried there is removed again.
    checks
        Which checks to make.

    Returns
    -------
    list of Finding
        In the order of the checks; a check that fails or hangs is an ``error`` itself.
    """
    return [
        finding for name, check, limit_s in checks for finding in _carry_out(name, check, limit_s, directory)
    ]


def _carry_out(name: str, check: Check, limit_s: float, directory: Path) -> list[Finding]:
    findings: list[Finding] = []

    def work() -> None:
        try:
            findings.extend(check(directory))
        except UserError as failure:
            findings.append(error(name, str(failure), "see above"))
        except Exception as failure:  # noqa: BLE001 - a diagnosis shows what is broken and goes on
            text = f"the check itself failed: {type(failure).__name__}: {failure}"
            findings.append(error(name, text, "please report this, with the output of doctor --json"))

    # A daemon, since what hangs in a dead file system cannot be ended and must not keep the program.
    thread = threading.Thread(target=work, name=f"check {name}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        text = f"no answer within {limit_s:g} s"
        return [error(name, text, "look for a file system or a command that hangs, and try again")]
    return findings
