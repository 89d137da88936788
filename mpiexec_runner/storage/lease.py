"""The lease on a run directory: one process at a time writes to it, and every life has a larger epoch.

Nothing here knows what the process does with the directory.

The right to epoch N is the file ``owner.N``, which exactly one process can create. ``owner`` is a copy of
the newest one for people to read; its modification time, renewed every few seconds, says that the owner
lives. Times are compared with that of a file just written beside it, so clocks need not agree.
"""

import os
from pathlib import Path

import msgspec

from mpiexec_runner.errors import Fenced, StorageError, UserError
from mpiexec_runner.storage.atomic import create_exclusively, remove_quietly, storage_error, write_bytes
from mpiexec_runner.storage.owner import STALE_S, Owner, claims, find_owner, is_alive, is_here, this_process

RENEW_S = 10.0
"""Seconds between two renewals, for whoever calls :meth:`Lease.renew`."""


class Lease:
    """The right of this process to write to a run directory. Made by :meth:`acquire`.

    Attributes
    ----------
    epoch : int
        The number of this life, larger than that of every earlier one.
    notes : list[str]
        From whom the directory was taken, if anybody.
    directory : Path
        The run directory.
    life : int
        The epoch of the first hub of this job.
    """

    def __init__(self, directory: Path, owner: Owner, notes: list[str]) -> None:
        self.directory = directory
        self._owner = owner
        self._released = False
        self.epoch, self.life = owner.epoch, owner.life or owner.epoch
        self.notes = notes

    @classmethod
    def acquire(cls, directory: Path, *, take_over: bool = False, rank: int = 0) -> "Lease":
        """Take the run directory.

        Parameters
        ----------
        directory
            The run directory.
        take_over
            Take it from whoever has it, alive or not; that process notices at its next renewal.
        rank
            Of this process.

        Raises
        ------
        UserError
            Another process has it, or was faster.
        StorageError
            The disk refused.
        """
        notes: list[str] = []
        current = find_owner(directory)
        if current is not None and not current.released:
            if not take_over:
                _refuse_if_alive(directory, current)
            notes.append(f"{directory} was last owned by {current}, which did not give it back")
        return cls._claim(directory, this_process(current.epoch + 1 if current else 1, rank), notes)

    @classmethod
    def succeed(cls, directory: Path, after: Owner, rank: int) -> "Lease":
        """Take the run directory from a hub of the same job that is gone, dead or merely silent.

        Parameters
        ----------
        directory
            The run directory.
        after
            That hub; nobody must have followed it yet.
        rank
            Of this process.

        Raises
        ------
        UserError
            Another process was faster.
        StorageError
            The disk refused.
        """
        mine = this_process(after.epoch + 1, rank, after.life or after.epoch)
        return cls._claim(directory, mine, [f"{directory} was last owned by {after}"])

    @classmethod
    def _claim(cls, directory: Path, mine: Owner, notes: list[str]) -> "Lease":
        claim = directory / f"owner.{mine.epoch}"
        # After winning the name, look again: one who slept since it looked first may take an old number
        # that was free again. There is a newer owner then.
        if not create_exclusively(claim, _encoded(mine)) or find_owner(directory) != mine:
            raise UserError(
                f"{directory} was taken by {find_owner(directory)} just now: if that is not what you want, "
                "end that one and start again"
            )
        write_bytes(directory / "owner", _encoded(mine))
        for epoch, path in claims(directory):
            if epoch < mine.epoch:
                remove_quietly(path)
        return cls(directory, mine, notes)

    def confirm(self) -> None:
        """Learn whether the directory is still this process's own.

        Raises
        ------
        Fenced
            Somebody else has taken over: then stop writing at once.
        StorageError
            The disk refused.
        """
        current = find_owner(self.directory)
        if current != self._owner:
            if not self.directory.is_dir():
                raise StorageError(
                    f"{self.directory} is gone: was it deleted, moved or unmounted? Nothing can be recorded "
                    "any more; bring it back and resume"
                )
            whom = str(current) if current is not None else "nobody: the file is gone"
            raise Fenced(
                f"fenced: {self.directory} is not ours any more (epoch {self.epoch}), it belongs to {whom}; "
                "this process writes no further"
            )

    def is_inherited(self) -> bool:
        """Whether the directory has passed to another rank of this job."""
        current = find_owner(self.directory)
        return current is not None and current != self._owner and current.life == self.life

    def renew(self) -> None:
        """Say that this process lives, and learn whether the directory is still its own.

        Raises
        ------
        StorageError
            Somebody else has taken over (then stop writing at once), or the disk refused.
        """
        self.confirm()
        path = self.directory / "owner"
        try:
            os.utime(path)
        except OSError as error:
            raise storage_error("renew the lease", path, error) from error

    def release(self) -> None:
        """Give the directory back: the next process need not wait. Releasing twice does nothing.

        Raises
        ------
        StorageError
            Somebody else has taken over, or the disk refused.
        """
        if self._released:
            return
        self.confirm()
        write_bytes(self.directory / "owner", _encoded(msgspec.structs.replace(self._owner, released=True)))
        self._released = True


def check_free(directory: Path) -> None:
    """See early whether a run directory can be taken; :meth:`Lease.acquire` decides.

    Raises
    ------
    UserError
        Another process has it.
    StorageError
        The disk refused.
    """
    current = find_owner(directory)
    if current is not None:
        _refuse_if_alive(directory, current)


def _refuse_if_alive(directory: Path, owner: Owner) -> None:
    if not is_alive(directory, owner):
        return
    if is_here(owner):
        remedy = "wait for it to end, or end it"
    else:
        remedy = (
            f"wait for it to end, or end it there; if it is gone already, try again {STALE_S:g} s after its "
            "end, or with --take-over"
        )
    raise UserError(f"run directory {directory} is in use by {owner}: {remedy}")


def _encoded(owner: Owner) -> bytes:
    return msgspec.json.format(msgspec.json.encode(owner), indent=2) + b"\n"
