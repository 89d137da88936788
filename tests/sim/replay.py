"""Run one simulated plan again, and say what happens: ``python -m tests.sim.replay SEED``.

Without ``--quiet`` every batch that goes on record is printed, with its virtual time.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from loop_plan import draw_plan
from loop_world import simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--quiet", action="store_true", help="say only how it ended")
    parser.add_argument("--plan", action="store_true", help="print the plan, and run nothing")
    given = parser.parse_args()
    if given.plan:
        print(draw_plan(given.seed))
        return
    world = simulate(given.seed, (lambda _: None) if given.quiet else print)
    print(f"seed {given.seed}: {world.ends}, {world.steps} steps, {world.seconds:.1f} virtual seconds")


if __name__ == "__main__":
    main()
