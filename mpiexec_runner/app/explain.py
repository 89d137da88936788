"""Explaining a task of a run, alive or not: its record is read, nothing is asked and nothing changed."""

import time
from pathlib import Path

from mpiexec_runner.app.control import find_alive, how_it_stands
from mpiexec_runner.app.record import is_made_by_a_program, read_snapshot, replay
from mpiexec_runner.app.run import load_old
from mpiexec_runner.app.wiring import make_scheduler
from mpiexec_runner.config.models import RunConfig
from mpiexec_runner.core.explain import explain
from mpiexec_runner.core.settings import HeartbeatSettings, SchedulerSettings
from mpiexec_runner.core.sight import History, Sight
from mpiexec_runner.core.state import RunState
from mpiexec_runner.errors import UserError
from mpiexec_runner.runtime.requests import find_tasks, name_of
from mpiexec_runner.storage.journal_reader import read_journal
from mpiexec_runner.storage.rundir import RunDirectory


def explain_task(run_dir: Path, word: str) -> list[str]:
    """Say why a task of a run is not running, or what it does, one line each.

    Parameters
    ----------
    run_dir
        The run directory.
    word
        The task: its name or its id.

    Raises
    ------
    UserError
        There is no such run or task, or more than one.
    StorageError
        The record cannot be read.
    """
    directory = RunDirectory.open(run_dir)
    alive = find_alive(directory) is not None
    state = read_state(directory)
    tasks = find_tasks(state, (word,))
    if len(tasks) > 1:
        raise UserError(f"{word} means {len(tasks)} tasks; one can be explained at a time")
    history = History(tasks[0].spec.id)
    for record in read_journal(directory.journal):
        history.take(record.now, record.events)
    now = max(state.now, time.time()) if alive else state.now
    lines = explain(Sight(state, tasks[0], history, now, name_of))
    if not alive:
        lines.insert(0, f"no run is alive here: {how_it_stands(directory)}; as its record ends:")
    return lines


def read_state(directory: RunDirectory) -> RunState:
    """Where the record of a run ends, which may be still being written.

    Raises
    ------
    StorageError
        It is damaged, or of a newer version.
    """
    past = read_snapshot(directory)
    if is_made_by_a_program(directory.read_config()):
        scheduler = make_scheduler(SchedulerSettings(), HeartbeatSettings(), state=past.state)
    else:
        config: RunConfig = load_old(directory)
        scheduler = make_scheduler(config.scheduler, config.heartbeat, config.seed, past.state, config.limits)
    return replay(directory, scheduler, past.position).state or scheduler.state
