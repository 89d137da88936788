"""TaskPipeline: tasks with names, that depend on each other, over the ranks of an MPI job.

The core knows what depends on what and the workers put results where they are used; this is what a program
sees of it: names, workflows, waiting, numbers.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from mpiexec_runner.api.control import PipelineControl
from mpiexec_runner.api.options import ResourceLimits
from mpiexec_runner.api.records import TaskStatus
from mpiexec_runner.api.scaling import AutoScaler
from mpiexec_runner.api.session import Scheduler, Session, Setup
from mpiexec_runner.api.submission import Submission
from mpiexec_runner.api.waits import Waits
from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.bound import Ref
from mpiexec_runner.model.events import SubmissionsClosed
from mpiexec_runner.policies.scaling import ScalingSettings


class TaskPipeline(PipelineControl, Waits):
    """Runs tasks that depend on each other on the ranks of an MPI job.

    Used with ``with``, as :class:`ParallelExecutor` is: rank 0 gets the pipeline and goes on, every other
    rank works. The block ends when all tasks and callbacks have ended.

    Parameters
    ----------
    tools
        Command templates by name, such as ``{"lammps": "lmp -in {script} -var T {T}"}``.
    initializer, initargs, run_dir, slots, isolate, limits, scheduler, workers
        See :class:`ParallelExecutor`. With ``run_dir`` each command has a directory of its own.

    Examples
    --------
    >>> with TaskPipeline() as pipeline:  # doctest: +SKIP
    ...     mesh = pipeline.submit_task(make_mesh, 40, task_id="mesh")
    ...     pipeline.submit_task(solve, pipeline.result_of("mesh"), task_id="solve")
    ...     print(pipeline.get_result("solve"))
    """

    def __init__(
        self,
        *,
        tools: Mapping[str, str | Sequence[str]] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[object, ...] = (),
        run_dir: str | Path | None = None,
        slots: int = 1,
        isolate: bool = False,
        limits: ResourceLimits | None = None,
        scheduler: Scheduler = None,
        workers: Literal["exit", "return"] = "exit",
    ) -> None:
        final = workers == "return"
        setup = Setup(initializer, initargs, run_dir, slots, isolate, final, limits, scheduler, keep=True)
        self._session, self._leave = Session(setup), not final
        self._submission = Submission(self._session, tools or {})
        self._ledger = self._submission.ledger

    # --- begin and end

    def __enter__(self) -> Self:
        """On rank 0, the pipeline; on the others, work. See the class."""
        if self._session.begin():
            return self
        if self._leave:
            raise SystemExit(0)
        return None  # type: ignore[return-value]

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if not self._session.engine.hub_here:
            return
        self._submission.leaving = exc_type is not None  # then no further batches are submitted
        self.shutdown()
        if exc_type is None:
            self._ledger.raise_what_broke()

    def shutdown(self) -> None:
        """Wait for all tasks and callbacks, and end the run."""
        session = self._session
        if not session.begin():
            return
        session.go_on_if_paused()
        self._ledger.wait_for_all()
        with session.lock:
            first, session.closed = not session.closed, True
        if first:
            session.post(SubmissionsClosed())
        session.engine.join()
        self._ledger.callbacks.close()

    # --- submitting

    def submit_task(
        self,
        fn_or_command: Callable[..., Any] | str | Sequence[str] | None = None,
        /,
        *args: Any,
        task_id: str | None = None,
        depends_on: str | Iterable[str] = (),
        when: str = "success",
        priority: int | None = None,
        tool: str | None = None,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> str:
        """Submit one task.

        Parameters
        ----------
        fn_or_command
            A function, called with ``args`` and ``kwargs``; a command (text for the shell, or a list of
            words) whose ``{fields}`` are filled from ``kwargs``; or, with ``tool``, the ``{script}`` of it.
        task_id
            Its name; ``task-1`` and so on unless given.
        depends_on
            Names of tasks that come before it. Those are added whose results are among the arguments, see
            :meth:`result_of`.
        when
            It begins when all that it depends on have succeeded (``"success"``), are at their end
            (``"any"``), or are and at least one has failed (``"failure"``). Else it is skipped.
        priority
            1 to 10; 10 goes first. 5 unless given.
        tool
            One of the pipeline's tools.
        options
            Further options, as for :meth:`ParallelExecutor.options`.

        Returns
        -------
        str
            The name of the task.

        Raises
        ------
        UserError
            When it cannot be submitted so; says why.
        """
        given: dict[str, Any] = {"depends_on": depends_on, "when": when, "with": kwargs, "args": args}
        given |= dict(options or {}) | {"id": task_id, "priority": priority}
        if tool is not None:
            given["tool"] = tool
            if fn_or_command is not None:
                given["script"] = fn_or_command
        else:
            given["call" if callable(fn_or_command) else "command"] = fn_or_command
        return self._submission.submit([given], None)[0].name

    def submit_workflow(self, tasks: Iterable[Mapping[str, Any]], sequential: bool = False) -> str:
        """Submit tasks together; the order in which they are given does not matter.

        Parameters
        ----------
        tasks
            Mappings: ``id``; one of ``call`` (a function, or ``"module:function"``), ``command`` and
            ``tool``; ``args``, ``with`` (named arguments, or fields of the command), ``script``,
            ``depends_on``, ``when``, and the options of :meth:`ParallelExecutor.options`.
        sequential
            Each begins when the one before has succeeded.

        Returns
        -------
        str
            The name of the workflow.

        Raises
        ------
        UserError
            On unknown names, names that are there twice, and cycles (with the path): nothing is submitted.
        """
        with self._ledger.new_flow("workflow") as flow:
            self._submission.submit(list(tasks), flow, sequential=sequential)
        return flow.name

    def submit_batch_workflow(
        self,
        tasks: Iterable[Mapping[str, Any]],
        batch_size: int | None = None,
        callback: Callable[[list[TaskStatus]], object] | None = None,
    ) -> str:
        """Submit tasks batch by batch: the next one when all tasks of the last one are at their end.

        Parameters
        ----------
        tasks
            As for :meth:`submit_workflow`; read as they are needed, so a generator may be endless. They may
            depend on tasks of their own and of earlier batches.
        batch_size
            Twice what the workers can run at once, unless given.
        callback
            Called with the statuses of each batch when it has ended, before the next one is read. What it
            raises ends the workflow.

        Returns
        -------
        str
            The name of the workflow.
        """
        if batch_size is not None and batch_size < 1:
            raise UserError(f"batch_size={batch_size}: a batch has at least 1 task")
        with self._ledger.new_flow("batches") as flow:
            flow.batch_size, flow.callback = batch_size or 2 * self._session.engine.capacity, callback
            flow.left = iter(tasks)
            self._submission.feed(flow)
        return flow.name

    def parameter_sweep(
        self,
        tool: str | Callable[..., Any],
        script: Any,
        param_grid: Mapping[str, Iterable[Any]],
        callback: Callable[[TaskStatus], object] | None = None,
        *,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Submit a task for each combination of parameters.

        Parameters
        ----------
        tool
            A tool of the pipeline, or a function.
        script
            The tool's ``{script}``; the first argument of the function. ``None`` for neither.
        param_grid
            The values of each parameter, by name; the last one changes fastest.
        callback
            Called with the status of each task that has ended.
        options
            Of the tasks, as for :meth:`ParallelExecutor.options`.

        Returns
        -------
        str
            The name of the workflow; its tasks are named after it: ``sweep-1-0001`` and so on.
        """
        names, values = list(param_grid), [list(one) for one in param_grid.values()]
        for name, some in zip(names, values, strict=True):
            if not some:
                raise UserError(f"the parameter {name} has no values, so there is nothing to run")
        with self._ledger.new_flow("sweep") as flow:
            tasks: list[dict[str, Any]] = []
            for number, point in enumerate(itertools.product(*values), 1):
                task: dict[str, Any] = {"id": f"{flow.name}-{number:04d}", **(options or {})}
                task["with"] = dict(zip(names, point, strict=True))
                if callable(tool):
                    task |= {"call": tool, "args": () if script is None else (script,)}
                else:
                    task["tool"] = tool
                    if script is not None:
                        task["script"] = script
                tasks.append(task)
            self._submission.submit(tasks, flow, callback=callback)
        return flow.name

    def result_of(self, task_id: str) -> Ref:
        """What a task will have returned, as an argument of a later one: that one depends on it.

        A part is had by its key or index, ``pipeline.result_of("fit")["slope"]``. The worker puts the value
        there; it need not be known when the later task is submitted.
        """
        return Ref(task_id)

    def output_of(self, task_id: str) -> Ref:
        """What a command will have written to stdout at last, as an argument of a later task."""
        return Ref(task_id, (), "stdout")

    @contextlib.contextmanager
    def auto_scale(self, settings: ScalingSettings) -> Iterator[list[tuple[float, int]]]:
        """Inside the ``with``, let the number of active workers follow the work; the rest is parked.

        Gives a list that grows: how many workers were active from when on, in seconds.
        """
        scaler = AutoScaler(self._session, settings)
        self._session.progress = scaler.look
        try:
            yield scaler.history
        finally:
            self._session.progress = None
            scaler.stop()
