"""Optuna proposes, the ranks try: ask and tell, with as many trials under way as there are workers.

Run it with ``mpiexec -n 4 python configs/optuna_sampler.py``, or without ``mpiexec`` in one process. It needs
``pip install optuna``, the extra ``optuna`` of this package. With the name of a file behind it, Optuna keeps
its study there, and the same command goes on where an earlier one was stopped.
"""

import importlib.util
import sys
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from mpiexec_runner import ParallelExecutor

TRIALS = 60
UNDER_WAY = 4


def loss(x: float, y: float) -> float:
    """Something that takes long in real life: here, a valley with its lowest point, 0, at (1, -2)."""
    return (x - 1) ** 2 + (y + 2) ** 2


def open_study(journal: str | None) -> Any:
    """A new study, or the one in the journal; what was under way when that was stopped is tried again."""
    import optuna  # noqa: PLC0415 - only rank 0 needs it
    from optuna.storages import JournalStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="valley",
        sampler=optuna.samplers.TPESampler(seed=1, n_startup_trials=10, constant_liar=True),
        storage=JournalStorage(JournalFileBackend(journal)) if journal else None,
        load_if_exists=True,
    )
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def tried(study: Any) -> int:
    """How many trials have a value."""
    return sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False))


def main() -> None:
    """Rank 0 asks and tells; what a failed trial raised ends the program, and the journal goes on later."""
    if importlib.util.find_spec("optuna") is None:
        print("skipped: optuna is not installed; pip install 'mpiexec-runner[optuna]'")
        return
    with ParallelExecutor() as executor:
        study = open_study(sys.argv[1] if len(sys.argv) > 1 else None)
        before = tried(study)
        under_way: dict[Future[float], Any] = {}
        for _ in range(before, TRIALS):
            if len(under_way) >= UNDER_WAY:
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    study.tell(under_way.pop(future), future.result())
            trial = study.ask()
            x, y = trial.suggest_float("x", -5, 5), trial.suggest_float("y", -5, 5)
            under_way[executor.submit(loss, x, y)] = trial
        for future, trial in under_way.items():
            study.tell(trial, future.result())
        done, best = tried(study), study.best_value
    if done != TRIALS or best > 2:
        raise SystemExit(f"{done} trials, the best one at {best}")
    print(f"{done - before} new trials, {done} in all; the best one is near ({1}, {-2})")


if __name__ == "__main__":
    main()
