"""Retry policies: whether and when a failed task is tried again.

They fit the ``Retry`` port of ``core/ports.py`` without importing it; random numbers are handed in.
"""

import builtins

from mpiexec_runner.model.decisions import Again
from mpiexec_runner.model.tasks import Failure, FailureClass, RetryRule

LONGEST_S = 3600.0
"""Doubling stops at an hour; a first pause that is longer stays as it is."""

_HOPELESS = frozenset({FailureClass.NOT_FOUND, FailureClass.RESULT, FailureClass.SETUP})
"""Failures that the next attempt would only repeat: no such program or function, a result that cannot
travel, an initializer that fails."""
_HOPELESS_EXCEPTION = "SyntaxError"
"""And so are its subclasses. Not an ``ImportError``: on the next node the file system may be well."""


class ExponentialBackoff:
    """The first pause is the rule's, and it doubles each time (5, 10, 20 s by default), up to an hour.

    The first rule of ``on`` that matches the failure replaces what it names. ``jitter`` spreads the pauses,
    so that tasks that failed together do not come back together (Brooker, "Exponential backoff and jitter",
    AWS Architecture Blog, 2015).
    """

    def decide(
        self, rule: RetryRule, retries: int, failure: Failure, exit_code: int | None, draw: float
    ) -> Again | None:
        """See ``core/ports.py``."""
        if is_hopeless(failure):
            return None
        most, backoff_s, memory_factor = rule.max, rule.backoff_s, 1.0
        special = next((one for one in rule.on if matches(one.match, failure, exit_code)), None)
        if special is not None:
            most = rule.max if special.max is None else special.max
            backoff_s = rule.backoff_s if special.backoff_s is None else special.backoff_s
            memory_factor = special.memory_factor
        if retries >= most:
            return None
        longest_s = max(LONGEST_S, backoff_s)
        # 2 to the power of a thousand is no number any more, and an hour is reached long before.
        delay_s = min(longest_s, backoff_s * 2.0 ** min(retries, 64))
        delay_s *= 1.0 + rule.jitter * (2.0 * draw - 1.0)
        return Again(max(0.0, min(longest_s, delay_s)), memory_factor, rule.elsewhere)


def is_hopeless(failure: Failure) -> bool:
    """Whether the next attempt could only fail in the same way."""
    if failure.kind in _HOPELESS:
        return True
    return failure.kind is FailureClass.EXCEPTION and _is_exception(failure.name, _HOPELESS_EXCEPTION)


def matches(match: str, failure: Failure, exit_code: int | None) -> bool:
    """Whether a failure is of the class that a rule names; the syntax is that of ``FailureRule``.

    Parameters
    ----------
    match
        ``CLASS`` or ``CLASS:DETAIL``. The detail of an exception is its name with or without its module; a
        built-in one stands for its subclasses, too. That of a signal is its name, with or without ``SIG``.
    failure, exit_code
        How the attempt ended.
    """
    kind, colon, detail = match.partition(":")
    if kind != failure.kind:
        return False
    if not colon:
        return True
    match failure.kind:
        case FailureClass.EXIT_CODE:
            return str(exit_code) == detail.strip()
        case FailureClass.SIGNAL:
            return _full_name(failure.name) == _full_name(detail)
        case FailureClass.EXCEPTION:
            return _is_exception(failure.name, detail.strip())
        case _:
            return False


def _full_name(signal: str) -> str:
    name = signal.strip().upper()
    return name if name.startswith("SIG") else f"SIG{name}"


def _is_exception(name: str, wanted: str) -> bool:
    wanted = wanted.removeprefix("builtins.")
    if not name or wanted in (name, name.rpartition(".")[2]):
        return bool(name)
    one, other = getattr(builtins, name, None), getattr(builtins, wanted, None)
    return isinstance(one, type) and isinstance(other, type) and issubclass(one, other)
