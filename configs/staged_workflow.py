"""A workflow in stages: a mesh, a solution for each load, an error for each, and a summary.

Run it with ``mpiexec -n 4 python configs/staged_workflow.py``, or without ``mpiexec`` in one process.
"""

from typing import Any

import numpy as np

from mpiexec_runner import TaskPipeline

CELLS = (16, 32, 64, 128)


def make_mesh(cells: int) -> dict[str, Any]:
    """A uniform mesh of the unit interval."""
    return {"x": np.linspace(0.0, 1.0, cells + 1), "h": 1.0 / cells}


def solve(x: np.ndarray, h: float) -> np.ndarray:
    """Solve -u'' = pi^2 sin(pi x) with u = 0 at both ends, by finite differences."""
    inner = x[1:-1]
    matrix = (np.diag(2 * np.ones(inner.size)) - np.eye(inner.size, k=1) - np.eye(inner.size, k=-1)) / h**2
    u = np.zeros(x.size)
    u[1:-1] = np.linalg.solve(matrix, np.pi**2 * np.sin(np.pi * inner))
    return u


def error_of(x: np.ndarray, u: np.ndarray) -> float:
    """The largest difference from sin(pi x)."""
    return float(np.abs(u - np.sin(np.pi * x)).max())


def order_of(*errors: float) -> float:
    """The order of convergence between the last two."""
    return float(np.log2(errors[-2] / errors[-1]))


def main() -> None:
    """All is submitted at once; what a stage needs of the one before goes from worker to worker."""
    with TaskPipeline() as pipeline:
        ref = pipeline.result_of
        tasks: list[dict[str, Any]] = []
        for n in CELLS:
            x, h = ref(f"mesh-{n}")["x"], ref(f"mesh-{n}")["h"]
            tasks.append({"id": f"mesh-{n}", "call": make_mesh, "args": [n]})
            tasks.append({"id": f"solve-{n}", "call": solve, "args": [x, h]})
            tasks.append({"id": f"error-{n}", "call": error_of, "args": [x, ref(f"solve-{n}")]})
        tasks.append({"id": "order", "call": order_of, "args": [ref(f"error-{n}") for n in CELLS]})
        tasks.append(
            {"id": "alarm", "command": "echo something failed", "depends_on": "order", "when": "failure"}
        )
        status = pipeline.wait_for_workflow(pipeline.submit_workflow(tasks), timeout=300)
        order = pipeline.get_result("order")
        alarm = pipeline.get_task_status("alarm")
    if abs(order - 2) > 0.05:
        raise SystemExit(f"the order of convergence is {order}, not 2")
    print(f"{status.counts['succeeded']} tasks, order of convergence {order:.2f}")
    print(f"alarm: {alarm.state}, {alarm.why}")


if __name__ == "__main__":
    main()
