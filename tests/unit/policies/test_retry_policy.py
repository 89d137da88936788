"""Exponential back-off: how often, how long, what is special, and what is not worth another try."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpiexec_runner.model.decisions import Again
from mpiexec_runner.model.tasks import Failure, FailureClass, FailureRule, RetryRule
from mpiexec_runner.policies.retry import LONGEST_S, ExponentialBackoff, matches

HOPELESS = {FailureClass.NOT_FOUND, FailureClass.RESULT, FailureClass.SETUP}
RAISED = Failure(FailureClass.EXCEPTION, "broken")


def decide(rule: RetryRule, retries: int, failure: Failure = RAISED, draw: float = 0.5) -> Again | None:
    return ExponentialBackoff().decide(rule, retries, failure, None, draw)


def delays(rule: RetryRule, failure: Failure = RAISED, tries: int = 6) -> list[float | None]:
    decisions = [decide(rule, retries, failure) for retries in range(tries)]
    return [None if again is None else again.delay_s for again in decisions]


def named(kind: FailureClass, name: str) -> Failure:
    return Failure(kind, "broken", name=name)


def test_no_retries_by_default() -> None:
    assert delays(RetryRule()) == [None] * 6


def test_pauses_double() -> None:
    assert delays(RetryRule(4)) == [5.0, 10.0, 20.0, 40.0, None, None]


def test_no_pause_stays_no_pause() -> None:
    assert delays(RetryRule(2, 0.0)) == [0.0, 0.0, None, None, None, None]


@pytest.mark.parametrize(("first_s", "longest_s"), [(1.0, LONGEST_S), (7200.0, 7200.0)])
def test_pauses_grow_to_an_hour_or_the_first_where_that_is_longer(first_s: float, longest_s: float) -> None:
    assert decide(RetryRule(10**6, first_s), 10**5) == Again(longest_s)


@given(
    backoff_s=st.floats(0, 1e9),
    retries=st.integers(0, 10**6),
    jitter=st.floats(0, 1),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_jitter_spreads_a_pause_by_its_share_and_no_more(
    backoff_s: float, retries: int, jitter: float, draw: float
) -> None:
    plain = decide(RetryRule(10**7, backoff_s), retries)
    again = decide(RetryRule(10**7, backoff_s, jitter), retries, draw=draw)
    assert plain is not None
    assert again is not None
    assert 0 <= again.delay_s <= max(LONGEST_S, backoff_s)
    assert again.delay_s >= plain.delay_s * (1 - jitter) * (1 - 1e-9)
    assert again.delay_s <= plain.delay_s * (1 + jitter) * (1 + 1e-9)


def test_jitter_goes_by_the_draw() -> None:
    pauses = [decide(RetryRule(1, 10.0, 0.2), 0, draw=draw) for draw in (0.0, 0.25, 0.5)]
    assert pauses == [Again(8.0), Again(9.0), Again(10.0)]


def test_elsewhere_is_what_the_rule_says() -> None:
    assert decide(RetryRule(1, elsewhere=False), 0) == Again(5.0, elsewhere=False)


@pytest.mark.parametrize("why", FailureClass)
def test_hopeless_failures_are_given_up_at_once(why: FailureClass) -> None:
    expected = None if why in HOPELESS else 5.0
    insisting = RetryRule(9, on=(FailureRule(str(why), max=9),))
    assert delays(RetryRule(9), Failure(why, "broken"))[0] == expected
    assert delays(insisting, Failure(why, "broken"))[0] == expected


@pytest.mark.parametrize(
    ("name", "tried"),
    [
        ("SyntaxError", False),
        ("IndentationError", False),
        ("ModuleNotFoundError", True),
        ("mine.Error", True),
    ],
)
def test_only_exceptions_that_must_come_again_are_hopeless(name: str, tried: bool) -> None:
    assert (decide(RetryRule(1), 0, named(FailureClass.EXCEPTION, name)) is not None) is tried


# --- special rules


def test_the_first_rule_that_matches_replaces_what_it_names() -> None:
    rule = RetryRule(
        2,
        5.0,
        on=(
            FailureRule("memory", max=5, memory_factor=2.0),
            FailureRule("timeout", max=0),
            FailureRule("exception:OSError", backoff_s=60.0),
            FailureRule("exception", max=1),
        ),
    )
    memory = Failure(FailureClass.MEMORY, "too much")
    assert decide(rule, 4, memory) == Again(80.0, 2.0)
    assert delays(rule, memory) == [5.0, 10.0, 20.0, 40.0, 80.0, None]
    assert delays(rule, Failure(FailureClass.TIMEOUT, "too long")) == [None] * 6
    assert delays(rule, named(FailureClass.EXCEPTION, "OSError"), 3) == [60.0, 120.0, None]
    assert delays(rule, named(FailureClass.EXCEPTION, "ValueError"), 3) == [5.0, None, None]
    assert delays(rule, Failure(FailureClass.EXIT_CODE, "1"), 3) == [5.0, 10.0, None]


def test_a_class_may_be_retried_where_the_rest_is_not() -> None:
    rule = RetryRule(on=(FailureRule("exit_code:75", max=1),))
    failure = Failure(FailureClass.EXIT_CODE, "exit code 75")
    assert ExponentialBackoff().decide(rule, 0, failure, 75, 0.5) == Again(5.0)
    assert ExponentialBackoff().decide(rule, 0, failure, 1, 0.5) is None


@pytest.mark.parametrize(
    ("match", "kind", "name", "exit_code", "expected"),
    [
        ("exit_code", FailureClass.EXIT_CODE, "", 3, True),
        ("exit_code:75", FailureClass.EXIT_CODE, "", 75, True),
        ("exit_code:7", FailureClass.EXIT_CODE, "", 75, False),
        ("exit_code:75", FailureClass.EXIT_CODE, "", None, False),
        ("exit_code:75", FailureClass.TIMEOUT, "", 75, False),
        ("signal", FailureClass.SIGNAL, "SIGSEGV", -11, True),
        ("signal:SIGSEGV", FailureClass.SIGNAL, "SIGSEGV", -11, True),
        ("signal:segv", FailureClass.SIGNAL, "SIGSEGV", -11, True),
        ("signal:SIGKILL", FailureClass.SIGNAL, "SIGSEGV", -11, False),
        ("exception", FailureClass.EXCEPTION, "", None, True),
        ("exception:KeyError", FailureClass.EXCEPTION, "KeyError", None, True),
        ("exception:builtins.KeyError", FailureClass.EXCEPTION, "KeyError", None, True),
        ("exception:ConnectionError", FailureClass.EXCEPTION, "ConnectionResetError", None, True),
        ("exception:KeyError", FailureClass.EXCEPTION, "LookupError", None, False),
        ("exception:Timeout", FailureClass.EXCEPTION, "requests.exceptions.Timeout", None, True),
        (
            "exception:requests.exceptions.Timeout",
            FailureClass.EXCEPTION,
            "requests.exceptions.Timeout",
            None,
            True,
        ),
        ("exception:other.Timeout", FailureClass.EXCEPTION, "requests.exceptions.Timeout", None, False),
        ("exception:print", FailureClass.EXCEPTION, "KeyError", None, False),
        ("exception:KeyError", FailureClass.EXCEPTION, "", None, False),
        ("exception:", FailureClass.EXCEPTION, "", None, False),
        ("timeout", FailureClass.TIMEOUT, "", None, True),
        ("memory", FailureClass.MEMORY, "", None, True),
        ("memory", FailureClass.SIGNAL, "SIGKILL", None, False),
        ("memory:much", FailureClass.MEMORY, "", None, False),
    ],
)
def test_what_a_rule_matches(
    match: str, kind: FailureClass, name: str, exit_code: int | None, expected: bool
) -> None:
    assert matches(match, named(kind, name), exit_code) is expected
