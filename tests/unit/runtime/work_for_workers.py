"""What tasks of the tests call."""

import asyncio
import os
import threading
import time

from threadpoolctl import threadpool_info

from mpiexec_runner import add_tasks
from mpiexec_runner.execute.allowance import THREAD_VARIABLES

gate = threading.Event()
rendezvous = threading.Barrier(2)


def surroundings():
    import numpy as np  # noqa: F401, PLC0415 - its library is to be there

    return {
        "mask": sorted(os.sched_getaffinity(0)),
        "pid": os.getpid(),
        "threads": [os.environ.get(name) for name in THREAD_VARIABLES],
        "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "pools": [pool["num_threads"] for pool in threadpool_info()],
        "thread": threading.current_thread().name,
    }


def echo(value=None):
    return value


def hold():
    gate.wait(60)
    return "held"


def meet():
    rendezvous.wait(60)
    return threading.current_thread().name


async def meet_in_the_loop(count, barriers={}):  # noqa: B006 - shared on purpose
    barrier = barriers.setdefault((asyncio.get_running_loop(), count), asyncio.Barrier(count))
    await barrier.wait()
    return threading.current_thread().name


async def never():
    await asyncio.Event().wait()


async def block_the_loop():
    gate.wait(60)


async def stubborn():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "I finished first"


def add(names):
    add_tasks([{"call": "math:sqrt", "args": [4], "id": name} for name in names])
    return len(names)


async def add_later(names):
    await asyncio.sleep(0)
    return add(names)


def add_and_fail():
    add_tasks([{"call": "math:sqrt"}])
    raise ValueError("no")


def eat(megabytes):
    kept = bytearray(megabytes * 2**20)
    kept[::4096] = b"x" * len(kept[::4096])
    time.sleep(60)
    return len(kept)


def run_out():
    raise MemoryError("no more")
