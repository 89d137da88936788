"""A race: several searches for the same thing; the first one that finds it ends the others.

Run it with ``mpiexec -n 4 python configs/pipeline_race.py``, or without ``mpiexec`` in one process.
"""

import math

from mpiexec_runner import TaskPipeline

NUMBER = 2_666_666_668_140_000_000_203  # the product of two primes
CONSTANTS = (1, 3, 5, 7, 11, 13)


def find_factor(number: int, constant: int) -> int:
    """Pollard's rho method; how long it takes depends on the constant, and on luck."""
    slow = fast = 2
    while True:
        slow = (slow * slow + constant) % number
        for _ in range(2):
            fast = (fast * fast + constant) % number
        factor = math.gcd(slow - fast, number)
        if factor == number:
            slow = fast = slow + 1  # a cycle without a find: begin elsewhere
        elif factor > 1:
            return factor


def main() -> None:
    """In processes of their own the losers can be ended at once."""
    with TaskPipeline(isolate=True) as pipeline:
        racers = [pipeline.submit_task(find_factor, NUMBER, constant) for constant in CONSTANTS]
        winner = pipeline.wait_for_any(racers, timeout=300)
        pipeline.cancel_tasks(racers)
        factor = pipeline.get_result(winner)
    small, large = sorted((factor, NUMBER // factor))
    if small * large != NUMBER or small == 1:
        raise SystemExit(f"{factor} is no factor of {NUMBER}")
    print(f"{NUMBER} = {small} * {large}")


if __name__ == "__main__":
    main()
