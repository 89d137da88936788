"""Starting a further rank while the job runs: through PMIx, which Open MPI's ranks speak with their launcher.

It knows no run. MPI_Comm_spawn would do the same and then wait for the new rank: for ever, where that dies
before it has met the one that started it, and every later call of its kind with it. PMIx_Spawn returns in
milliseconds. What it starts is a job of its own, a world of one rank, which comes by a door
(``mpi_doors.py``).

Source: PMIx Standard 4.1, sections 3.4 (data structures), 12.1 (PMIx_Spawn) and B (the info list functions).
"""

import ctypes
import os
from collections.abc import Mapping, Sequence

from mpi4py import MPI

from mpiexec_runner.errors import PeerError

_LIBRARY = "libpmix.so.2"
"""By this name the library is in memory already, as a part of Open MPI."""
_STRING = 3
"""``PMIX_STRING``, a data type."""
_NAME_BYTES = 256
_PASSED_ON = "OMPI_MCA_"
"""What Open MPI was told by its launcher; the rest of the environment a new rank has from there, too."""


class _App(ctypes.Structure):
    """``pmix_app_t``."""

    _fields_ = (
        ("cmd", ctypes.c_char_p),
        ("argv", ctypes.POINTER(ctypes.c_char_p)),
        ("env", ctypes.POINTER(ctypes.c_char_p)),
        ("cwd", ctypes.c_char_p),
        ("maxprocs", ctypes.c_int),
        ("info", ctypes.c_void_p),
        ("ninfo", ctypes.c_size_t),
    )


class _Array(ctypes.Structure):
    """``pmix_data_array_t``."""

    _fields_ = (("type", ctypes.c_uint16), ("size", ctypes.c_size_t), ("array", ctypes.c_void_p))


def why_not() -> str:
    """What keeps this job from replacing a dead rank, in words; empty when nothing does."""
    enabled = os.environ.get("OMPI_MCA_mpi_ft_enable", "")  # noqa: SIM112 - that is how it is spelt
    name = MPI.get_vendor()[0]
    if name != "Open MPI":  # MPICH has ULFM's functions, and ends the job all the same
        return f"under {name} the death of a rank is the end of the job; Open MPI 5 and later can do it"
    if enabled.lower() not in ("1", "true"):
        return "Open MPI's launcher was started without --with-ft ulfm"
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        return "this MPI gives no MPI_THREAD_MULTIPLE"
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError as error:
        return f"this Open MPI has no PMIx library of its own ({error})"
    return ""


def spawn(argv: Sequence[str], host: str, directory: str, environ: Mapping[str, str]) -> None:
    """Start a program on a host. It may wait for the launcher, but not for what is started.

    Parameters
    ----------
    argv
        The program and its arguments.
    host
        As its own MPI calls it.
    directory
        Where it is started.
    environ
        What it shall have beside the launcher's environment.

    Raises
    ------
    PeerError
        When the launcher refuses.
    """
    pmix = ctypes.CDLL(_LIBRARY)
    told = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)} | {**environ}
    of_app = _infos(pmix, {"pmix.host": host})
    of_job = _infos(pmix, {"pmix.mapby": "slot:OVERSUBSCRIBE", "pmix.bindto": "none"})
    app = _App(
        cmd=os.fsencode(argv[0]),
        argv=_words(argv),
        env=_words([f"{name}={value}" for name, value in told.items()]),
        cwd=os.fsencode(directory),
        maxprocs=1,
        info=of_app.array,
        ninfo=of_app.size,
    )
    name = ctypes.create_string_buffer(_NAME_BYTES)
    size = ctypes.c_size_t(of_job.size)
    code = pmix.PMIx_Spawn(ctypes.c_void_p(of_job.array), size, ctypes.byref(app), ctypes.c_size_t(1), name)
    if code:
        raise PeerError(f"no rank can be started on {host}: {_text(pmix, code)}")


def _words(words: Sequence[str]) -> "ctypes.Array[ctypes.c_char_p]":
    """Words as C has them, with a null pointer behind."""
    return (ctypes.c_char_p * (len(words) + 1))(*map(os.fsencode, words), None)


def _infos(pmix: ctypes.CDLL, values: Mapping[str, str]) -> _Array:
    """An array of ``pmix_info_t``; a few hundred bytes that are never given back."""
    pmix.PMIx_Info_list_start.restype = ctypes.c_void_p
    list_, found = ctypes.c_void_p(pmix.PMIx_Info_list_start()), _Array()
    for key, value in values.items():
        text = ctypes.c_char_p(os.fsencode(value))
        code = pmix.PMIx_Info_list_add(list_, key.encode(), text, ctypes.c_uint16(_STRING))
        if code:
            raise PeerError(f"PMIx refuses {key}={value}: {_text(pmix, code)}")
    if code := pmix.PMIx_Info_list_convert(list_, ctypes.byref(found)):
        raise PeerError(f"PMIx refuses {values}: {_text(pmix, code)}")
    pmix.PMIx_Info_list_release(list_)
    return found


def _text(pmix: ctypes.CDLL, code: int) -> str:
    pmix.PMIx_Error_string.restype = ctypes.c_char_p
    return (pmix.PMIx_Error_string(code) or b"?").decode()
