"""How tasks get into the run of a pipeline: read, put in order, numbered, posted, batch by batch.

It waits for nothing but room in the queue; names and workflows are kept by the ledger.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from mpiexec_runner.api.jobs import Job, Reader, in_order
from mpiexec_runner.api.ledger import Ledger
from mpiexec_runner.api.records import Entry, Flow, TaskStatus
from mpiexec_runner.api.session import Session
from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.bound import replaced
from mpiexec_runner.model.tasks import CallByName, CommandLine, PlainArguments, TaskSpec, Work


class Submission:
    """Submits tasks to a run.

    Parameters
    ----------
    session
        The run.
    tools
        Command templates by name.
    """

    def __init__(self, session: Session, tools: Mapping[str, str | Sequence[str]]) -> None:
        self._session, self._reader = session, Reader(tools, session.options)
        self.ledger = Ledger(self.feed, self._adopt, lambda: session.engine.state)
        self._names = itertools.count(1)
        self.leaving = False
        """Whether no further batches are to be submitted."""

    def submit(
        self,
        given: Sequence[Mapping[str, Any]],
        flow: Flow | None,
        *,
        sequential: bool = False,
        callback: Callable[[TaskStatus], object] | None = None,
        parent: int = 0,
    ) -> list[Entry]:
        """Submit tasks in one event: the core sees all of them or none."""
        session = self._session
        if not self._session.begin():
            raise UserError("tasks are submitted on rank 0, inside the with block")
        gate = session.gate
        if gate is not None:
            gate.enter(len(given))
        try:
            with session.lock:
                jobs: list[Job] = []
                taken = {str(one["id"]) for one in given if isinstance(one, Mapping) and one.get("id")}
                for one in given:
                    before = [jobs[-1].id] if sequential and jobs else []
                    jobs.append(self._reader.read(one, lambda: self._free_name(taken), before))
                jobs = in_order(jobs, self.ledger.entries.keys())
                entries = self._register(jobs, flow, callback, parent)
        except BaseException:
            if gate is not None:
                gate.give_back(len(given))
            raise
        return entries

    def _free_name(self, taken: Collection[str]) -> str:
        known = self.ledger.entries
        return next(name for n in self._names if (name := f"task-{n}") not in known and name not in taken)

    def _register(
        self,
        jobs: Sequence[Job],
        flow: Flow | None,
        callback: Callable[[TaskStatus], object] | None,
        parent: int,
    ) -> list[Entry]:
        """Make tasks of what is in order, and post them. Under the session's lock."""
        self._session.check_open()
        known = self.ledger.entries
        numbers = {name: known[name].task for job in jobs for name in job.after if name in known}
        specs: list[TaskSpec] = []
        for job in jobs:
            specs.append(self._spec(job, numbers, parent))
            numbers[job.id] = specs[-1].id
        entries = self.ledger.add(jobs, specs, flow, callback)
        if specs:
            self._session.submit(specs, self.ledger)
        return entries

    def _spec(self, job: Job, numbers: Mapping[str, int], parent: int) -> TaskSpec:
        session = self._session
        more: dict[str, Any] = {
            "name": job.id,
            "after": tuple(numbers[name] for name in job.after),
            "uses": tuple(numbers[name] for name in job.uses),
            "when": job.when,
            "site": job.options.site,
            "parent": parent,
        }
        options = job.options.changed(site="")
        call, command = job.call, job.command
        if callable(call):
            kind, args = session.kind_for_call(call, job.args, options)
            return session.make(kind, args, job.fields, **more)

        def work() -> Work:
            return CommandLine(command) if command is not None else CallByName(str(call))

        name = str(call) if command is None else (command if isinstance(command, str) else command[0])
        kind = session.kind_for(("plain", call, command), name[:40], work, options)
        # References in plain data are text, which the worker puts results into.
        args, fields = replaced((job.args, job.fields), lambda ref: ref.text)
        try:
            data = msgspec.msgpack.encode(PlainArguments(args, fields), enc_hook=_plain)
        except (TypeError, OverflowError, UnicodeEncodeError) as error:
            raise UserError(
                f"{job.id}: the values of a command, or of a function by name, are plain data: {error}"
            ) from None
        return TaskSpec(session.next_id(), kind, data, **more)

    def feed(self, flow: Flow) -> None:
        """Submit the next batch of a workflow, or find that there is none. Never in the hub's thread."""
        if flow.open:  # a task of the batch has added others: it is not over yet
            return
        given: list[Mapping[str, Any]] = []
        batch, flow.batch = flow.batch, []
        try:
            if batch and flow.callback is not None:
                flow.callback([self.ledger.status(entry) for entry in batch])
            if flow.left is not None and not self.leaving:
                given = list(itertools.islice(flow.left, flow.batch_size))
            if given:
                self.submit(given, flow)
        except BaseException as error:
            flow.error, given = error, []
            raise
        finally:
            if not given:
                with self.ledger.changed:
                    flow.left = None
                    self.ledger.changed.notify_all()

    def _adopt(self, more: bytes, parent: Entry) -> None:
        """Submit what a task has added (``mpiexec_runner.add_tasks``); it belongs to the same workflow."""
        flow = parent.workflow
        try:
            self.submit(msgspec.msgpack.decode(more), flow, parent=parent.task)
        except BaseException as error:
            if flow is not None:
                flow.error = error
            raise
        finally:
            if flow is not None:
                with self.ledger.changed:
                    flow.adding -= 1
                    self.ledger.changed.notify_all()


def _plain(value: object) -> object:
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return value.item()
    raise TypeError(f"{type(value).__name__} is not plain data")
