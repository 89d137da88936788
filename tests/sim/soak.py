"""Run many simulated plans, on all cores: ``python -m tests.sim.soak --seeds 100000``.

Each seed that fails is printed with its error and the command that runs it again; the others go on.
"""

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from loop_world import simulate

PER_PROCESS = 200


def one(seed: int) -> tuple[int, str, int, float]:
    """The seed, what went wrong if anything did, and how many steps and virtual seconds it took."""
    try:
        world = simulate(seed)
    except BaseException as error:  # noqa: BLE001 - told, and the other seeds go on
        return seed, "".join(traceback.format_exception(error, limit=-6)), 0, 0.0
    return seed, "", world.steps, world.seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--most-failures", type=int, default=20, help="stop after so many")
    given = parser.parse_args()
    began, done, failed, steps, virtual_s = time.monotonic(), 0, [], 0, 0.0
    seeds = range(given.first, given.first + given.seeds)
    with multiprocessing.get_context("forkserver").Pool(given.jobs, maxtasksperchild=PER_PROCESS) as pool:
        for seed, why, its_steps, its_s in pool.imap_unordered(one, seeds, chunksize=10):
            done, steps, virtual_s = done + 1, steps + its_steps, virtual_s + its_s
            if why:
                failed.append(seed)
                print(f"--- seed {seed} failed\n{why}", flush=True)
                if len(failed) >= given.most_failures:
                    break
            if done % 1000 == 0:
                print(f"{done} seeds, {len(failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
    took_s = time.monotonic() - began
    print(f"{done} seeds, {steps} steps, {virtual_s / 3600:.1f} virtual hours in {took_s:.1f} s")
    print(f"failed: {sorted(failed)}" if failed else "none failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
