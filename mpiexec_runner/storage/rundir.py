"""The run directory: its layout, how one is made whole or not at all, and how one is recognised.

Nothing here knows what the files hold.
"""

import errno
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from mpiexec_runner.errors import StorageError, UserError
from mpiexec_runner.storage.atomic import (
    replace_symlink,
    storage_error,
    sync_directory,
    temporary_name,
    write_text,
)

LATEST = "latest"
SHARD = 1000
"""Task directories in one folder; file servers get slow with many more."""

_FOLDERS = ("journal", "checkpoints", "blobs", "tasks", "logs", "reports", "control")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,@-]{0,99}")
_DEFAULT_NAME = re.compile(r"task_\d+")


def default_name(task_id: int) -> str:
    """The name of a task that was given none."""
    return f"task_{task_id:04d}"


class RunDirectory:
    """Where one run keeps its record. Made by :meth:`create`, found again by :meth:`open`.

    Attributes
    ----------
    path, config, journal, checkpoints, blobs, results, tasks, logs, reports, control, status : pathlib.Path
        The directory itself and what is in it.
    notes : list[str]
        What did not work and does not matter to the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "run.yaml"
        self.journal = path / "journal"
        self.checkpoints = path / "checkpoints"
        self.blobs = path / "blobs"
        self.results = path / "results.h5"
        self.tasks = path / "tasks"
        self.logs = path / "logs"
        self.reports = path / "reports"
        self.control = path / "control"
        self.status = path / "status.json"
        self.notes: list[str] = []

    @classmethod
    def create(cls, base: Path, name: str, *, exact: Path | None = None, config: str = "") -> "RunDirectory":
        """Make a new run directory, with mode 0700; when this raises, there is none.

        Parameters
        ----------
        base
            Where it goes, as ``NAME-YYYYmmddTHHMMSS`` (UTC); ``base/latest`` points at it then.
        name
            Name of the run.
        exact
            Make this directory instead; it may exist if it is empty.
        config
            The resolved configuration, for ``run.yaml``.

        Raises
        ------
        UserError
            ``exact`` is in use, or ``name`` cannot be part of a file name.
        StorageError
            The disk refused.
        """
        if exact is None and not _SAFE_NAME.fullmatch(name):
            raise UserError(f"{name!r} cannot name a directory: use letters, digits and _ . + = , @ -")
        parent = exact.absolute().parent if exact is not None else base
        try:
            parent.mkdir(parents=True, exist_ok=True)
            prepared = _prepare(parent / (exact.name if exact is not None else name), config)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"{parent} is no directory: choose another one for the run") from error
        except OSError as error:
            raise storage_error("create a run directory in", parent, error) from error
        try:
            path = _move_to(prepared, exact) if exact is not None else _move_to_free(prepared, base, name)
            sync_directory(parent)
        except OSError as error:
            raise storage_error("create a run directory in", parent, error) from error
        finally:
            shutil.rmtree(prepared, ignore_errors=True)
        made = cls(path.absolute())
        if exact is None:
            try:
                replace_symlink(base / LATEST, path.name)
            except StorageError as error:
                made.notes.append(f"{base / LATEST} does not point at this run: {error}")
        return made

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The run directory at ``path``; links such as ``runs/latest`` are followed.

        Raises
        ------
        UserError
            There is none.
        """
        if not path.exists():
            raise UserError(f"run directory {path} does not exist")
        found = path.resolve()
        if (found / "run.yaml").is_file() and (found / "journal").is_dir():
            return cls(found)
        hint = f"; did you mean {path / LATEST}?" if (path / LATEST).exists() else ""
        raise UserError(f"{path} is not a run directory: it has no run.yaml or no journal{hint}")

    def read_config(self) -> str:
        """The configuration of the run, as text.

        Raises
        ------
        StorageError
            It cannot be read.
        """
        try:
            return self.config.read_text("utf-8")
        except OSError as error:
            raise storage_error("read", self.config, error) from error

    def write_config(self, text: str) -> None:
        """Replace the configuration of the run.

        Raises
        ------
        StorageError
            The disk refused; the old one is still there.
        """
        write_text(self.config, text)

    def task_dir(self, task_id: int, name: str = "") -> Path:
        """The working directory of a task, of which each task has its own. Nothing is made."""
        first = task_id - task_id % SHARD
        return self.tasks / f"{first:04d}-{first + SHARD - 1:04d}" / _folder_name(task_id, name)


def _folder_name(task_id: int, name: str) -> str:
    """``name`` where it is fit to be one; never that of another task."""
    default = default_name(task_id)
    if not name or name == default:
        return default
    if _SAFE_NAME.fullmatch(name) and not _DEFAULT_NAME.match(name):
        return name
    # Made fit, two names could become one, and this one could look like the default of another task.
    return f"{default}-{re.sub(r'[^A-Za-z0-9_.+=,@-]', '_', name)[:100]}"


def _prepare(path: Path, config: str) -> Path:
    """A complete run directory beside ``path``, under a temporary name."""
    prepared = temporary_name(path)
    prepared.mkdir(mode=0o700)
    try:
        prepared.chmod(0o700)  # whatever the umask is
        for folder in _FOLDERS:
            (prepared / folder).mkdir(mode=0o700)
        write_text(prepared / "run.yaml", config)
        sync_directory(prepared)
    except (OSError, StorageError):
        shutil.rmtree(prepared, ignore_errors=True)
        raise
    return prepared


def _move_to(prepared: Path, exact: Path) -> Path:
    try:
        # Onto an empty directory this succeeds, onto anything else it fails (rename(2)).
        return prepared.rename(exact)
    except OSError as error:
        if (exact / "run.yaml").exists():
            raise UserError(f"{exact} holds a run already: resume it, or choose another directory") from error
        if exact.exists():
            raise UserError(f"{exact} exists and is not empty: choose another directory") from error
        raise


def _move_to_free(prepared: Path, base: Path, name: str) -> Path:
    stem = f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    number = 1
    while True:
        path = base / (stem if number == 1 else f"{stem}-{number}")
        try:
            return prepared.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        number += 1
