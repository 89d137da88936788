"""Failures of the disk under a task: told apart from its own, since they pass when there is room again.

It knows nothing of commands and calls.
"""

import errno
import os

from mpiexec_runner.model.tasks import FailureClass

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DISK = (*_FULL, errno.EIO, errno.EROFS, errno.ESTALE)


def class_of(error: BaseException, otherwise: FailureClass) -> FailureClass:
    """``STORAGE`` for an error that the disk is to blame for."""
    to_blame = isinstance(error, OSError) and error.errno in _DISK
    return FailureClass.STORAGE if to_blame else otherwise


def is_full(error: BaseException) -> bool:
    """Whether an exception says that there is no room, or no quota left."""
    return isinstance(error, OSError) and error.errno in _FULL


def has_no_room(descriptor: int) -> bool:
    """Whether nothing more could be written to an open file for want of room; of quotas nothing is known."""
    try:
        return os.fstatvfs(descriptor).f_bavail == 0
    except OSError:
        return False
