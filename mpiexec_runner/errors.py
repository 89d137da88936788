"""Every error this package raises on purpose, and the exit code each one means.

A message says what happened, to what, and what to do about it. The exit codes are those of
``sysexits``-minded batch systems: 75 is EX_TEMPFAIL, "try again later", what a requeue looks for.
"""

import enum


class ExitCode(enum.IntEnum):
    """How a run, or a command of the tool, ended."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    CONFIG = 3
    INTERRUPTED = 4
    INTERNAL = 5
    STOPPED = 75


class RunnerError(Exception):
    """Base of all errors of this package."""

    exit_code = ExitCode.INTERNAL


class UserError(RunnerError):
    """A request that cannot be carried out as made; the message says what to do instead."""

    exit_code = ExitCode.USAGE


class ConfigError(RunnerError):
    """One or more faults in a configuration, each with its place."""

    exit_code = ExitCode.CONFIG

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RunFailed(RunnerError):
    """A run that ended without finishing its work."""

    exit_code = ExitCode.SOME_FAILED


class PeerError(RunnerError):
    """A message from another rank that breaks the protocol. Its sender is quarantined."""


class StorageError(RunnerError):
    """The run directory cannot be read or written; says which file, where, and what can be saved."""


class StorageFull(StorageError):
    """There is no room, or no quota left: what was refused can be done again once there is."""


class NewerVersion(StorageError):
    """A later version of this package wrote it."""

    exit_code = ExitCode.USAGE


class Fenced(StorageError):
    """Another process has taken the run over: this one must write no further."""


class InvariantBroken(RunnerError):
    """A defect of this package: state that must never be. The run stops and keeps its record."""
