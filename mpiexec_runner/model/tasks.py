"""What a task is: its kind, its specification, its states, and how one attempt ended.

Records only. Nothing here knows who runs a task or where its record is kept.

A million tasks of one sweep share one :class:`TaskKind`; a :class:`TaskSpec` holds only what differs.
"""

import enum

import msgspec


class TaskState(enum.IntEnum):
    """Where a task is in its life. Legal moves are in ``core/transitions.py``."""

    WAITING = 0
    READY = 1
    ASSIGNED = 2
    RUNNING = 3
    SUCCEEDED = 4
    FAILED = 5
    CANCELLED = 6
    SKIPPED = 7

    @property
    def terminal(self) -> bool:
        """Whether a task in this state is at its end."""
        return self >= TaskState.SUCCEEDED


class Mode(enum.StrEnum):
    """How an attempt is executed on its worker."""

    AUTO = "auto"
    INLINE = "inline"
    THREAD = "thread"
    PROCESS = "process"
    ASYNCIO = "asyncio"
    COMMAND = "command"


class BlobRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Large data kept beside the journal: a key in the blob store and the size of each part in bytes."""

    key: str
    sizes: tuple[int, ...]


class CallByName(msgspec.Struct, frozen=True, tag="call"):
    """A callable found by import on the worker, ``package.module:function``."""

    target: str


class PickledCall(msgspec.Struct, frozen=True, tag="pickle", omit_defaults=True):
    """A callable that travels by value, as ``cloudpickle`` wrote it.

    ``reference`` is not empty where the worker's own one is to be preferred (``execute/references.py``).
    """

    pickle: bytes
    name: str = ""
    reference: str = ""


class CommandLine(msgspec.Struct, frozen=True, tag="command"):
    """A command template: a list of arguments, or one string for the shell; ``{field}`` is filled in.

    ``None`` where each task brings its own, in :attr:`TaskSpec.command`.
    """

    template: str | tuple[str, ...] | None = None


Work = CallByName | PickledCall | CommandLine


class Needs(msgspec.Struct, frozen=True, array_like=True):
    """What a task claims of its worker; 0 cpus, memory or gpus claims nothing beyond its slot.

    ``tags`` are those that the worker must have. ``ranks`` above 1 is a group: so many workers at once.
    """

    cpus: int = 0
    memory_bytes: int = 0
    gpus: int = 0
    tags: tuple[str, ...] = ()
    ranks: int = 1


class When(enum.IntEnum):
    """Which ends of the tasks that it depends on let a task begin."""

    SUCCESS = 0
    """All of them succeeded."""
    ANY = 1
    """All of them are at their end, whichever."""
    FAILURE = 2
    """All are at their end, and at least one failed."""


class FailureRule(msgspec.Struct, frozen=True, array_like=True):
    """What is special about one class of failure.

    ``match`` is ``CLASS`` or ``CLASS:DETAIL``: ``exit_code:75``, ``signal:SIGSEGV``,
    ``exception:ConnectionError``, ``timeout``, ``memory``. ``None`` leaves what the rule around it says.
    ``memory_factor`` multiplies the memory that the next attempt may use.
    """

    match: str
    max: int | None = None
    backoff_s: float | None = None
    memory_factor: float = 1.0


class RetryRule(msgspec.Struct, frozen=True):
    """How often a failed task is tried again.

    ``backoff_s`` is the first pause in seconds; it doubles each time, and is lengthened or shortened at
    random by up to the share ``jitter``. The first rule of ``on`` that matches goes before the rest.
    ``elsewhere``: on another worker than before, where there is one.
    """

    max: int = 0
    backoff_s: float = 5.0
    jitter: float = 0.1
    on: tuple[FailureRule, ...] = ()
    elsewhere: bool = True


class TaskKind(msgspec.Struct, frozen=True, kw_only=True):
    """What many tasks have in common. It travels once to each worker."""

    id: int
    name: str
    work: Work
    mode: Mode = Mode.AUTO
    priority: int = 5
    timeout_s: float | None = None
    retry: RetryRule = RetryRule()
    environment: dict[str, str] = {}
    max_output_bytes: int = 10 * 2**20
    keep: bool = True
    """Whether the scheduler remembers a task of this kind after its end (a resumable run does)."""
    needs: Needs = Needs()
    labels: tuple[str, ...] = ()
    """The user's words for such tasks: limits count by them, and a cancel may name one."""
    expected_s: float | None = None
    """How long such a task is said to take, in seconds, until that is measured."""
    timeout_factor: float | None = None
    """A running task is ended when it takes this many times the median of its kind."""
    speculate: bool = True
    """Whether a second attempt may run beside the first: not for tasks with effects outside."""
    keep_result: bool = False
    """Whether its results stay for tasks that are submitted when it has ended, and use them."""


class TaskSpec(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One task: what its kind leaves open.

    ``payload`` is msgpack of :class:`PlainArguments` for named callables and commands, and a pickle of
    ``(args, kwargs)`` for pickled calls. ``blob`` holds the payload's large buffers, when it has any.
    ``digest`` identifies the content (work and arguments) across edits of a task list.
    """

    id: int
    kind: int
    payload: bytes
    name: str = ""
    digest: bytes = b""
    command: str | tuple[str, ...] | None = None
    blob: BlobRef | None = None
    after: tuple[int, ...] = ()
    """Ids of the tasks that it depends on; they were submitted before it, or in the same event."""
    when: When = When.SUCCESS
    uses: tuple[int, ...] = ()
    """Those of ``after`` whose results are sent along, for its arguments to refer to."""
    site: str = ""
    """What it is best run near to: tasks of one site follow one another on the same worker."""
    parent: int = 0
    """The task that added it while the run went on; 0 when it was there from the start."""


class PlainArguments(msgspec.Struct, frozen=True, array_like=True):
    """Arguments as plain data: positional ones, and named ones that are also the table's columns.

    ``lifted`` names those among the latter that stand for references inside a command. They are filled in
    like any other, and are nobody's parameters.
    """

    args: tuple[object, ...] = ()
    fields: dict[str, object] = {}
    lifted: tuple[str, ...] = ()


class Verdict(enum.IntEnum):
    """How one attempt ended."""

    SUCCEEDED = 0
    FAILED = 1
    CANCELLED = 2


class FailureClass(enum.StrEnum):
    """The class of a failure: what retry rules and error reports go by."""

    EXCEPTION = "exception"
    EXIT_CODE = "exit_code"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    NOT_FOUND = "not_found"
    RESULT = "result"
    SETUP = "setup"
    STORAGE = "storage"


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why an attempt failed.

    ``exception`` is the pickled exception of a pickled call; ``name`` is an exception's type with its
    module (``builtins`` left out), or the name of a signal.
    """

    kind: FailureClass
    message: str
    traceback: str = ""
    exception: bytes = b""
    name: str = ""


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How one attempt of one task ended, as its worker tells it.

    ``started`` is seconds since the epoch on the worker's clock; ``value`` is the encoded result
    (``execute/payload.py``), empty when there is none; ``cpu_s`` is NaN and ``peak_memory_bytes`` 0 when
    nobody measured it; ``blob`` holds the large buffers of the value. ``more`` are tasks that it adds to
    the run, msgpack of a list of mappings with the keys of a task in a configuration.
    """

    task: int
    attempt: int
    verdict: Verdict
    started: float
    elapsed_s: float
    value: bytes = b""
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    exit_code: int | None = None
    failure: Failure | None = None
    blob: BlobRef | None = None
    more: bytes = b""


class Result(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a task leaves for those that use it: its state, its name, and its value as in ``Outcome``."""

    task: int
    state: TaskState
    name: str = ""
    value: bytes = b""
    blob: BlobRef | None = None
