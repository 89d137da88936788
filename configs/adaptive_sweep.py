"""A sweep from coarse to fine: each level looks more closely around the best point of the level before.

Run it with ``mpiexec -n 4 python configs/adaptive_sweep.py``, or without ``mpiexec`` in one process.
"""

import numpy as np

from mpiexec_runner import TaskPipeline

LEVELS, PER_AXIS = 6, 7
LOW, HIGH = -4.0, 4.0


def misfit(x: float, y: float) -> float:
    """Himmelblau's function, tilted so that (3, 2) is the lowest of its four valleys."""
    valleys = (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2
    return valleys + 0.1 * ((x - 3) ** 2 + (y - 2) ** 2)


def main() -> None:
    """49 points a level; a grid as fine as the last level would have had millions."""
    centre, width = (0.0, 0.0), HIGH - LOW
    best = float("inf")
    with TaskPipeline() as pipeline:
        for _ in range(LEVELS):
            axes = [np.linspace(c - width / 2, c + width / 2, PER_AXIS).tolist() for c in centre]
            sweep = pipeline.parameter_sweep(misfit, None, {"x": axes[0], "y": axes[1]})
            pipeline.wait_for_workflow(sweep, timeout=300)
            values = [pipeline.get_result(name) for name in pipeline.tasks_of(sweep)]
            at = int(np.argmin(values))
            best, centre = values[at], (axes[0][at // PER_AXIS], axes[1][at % PER_AXIS])
            width *= 2 / (PER_AXIS - 1)
    if abs(centre[0] - 3) > 0.02 or abs(centre[1] - 2) > 0.02:
        raise SystemExit(f"{centre} is not the lowest point")
    print(
        f"lowest at ({centre[0]:.2f}, {centre[1]:.2f}) with {best:.4f}, after {LEVELS * PER_AXIS**2} points"
    )


if __name__ == "__main__":
    main()
