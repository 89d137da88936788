"""Laws of durations, fault plans and slow workers: how they are written, and what is drawn from them."""

import random
import statistics

import pytest
from sim_env import kind

from mpiexec_runner.errors import UserError
from mpiexec_runner.model.tasks import TaskSpec
from mpiexec_runner.sim.faults import FaultPlan, FaultRates, Misfortune, draw_plan, parse_faults
from mpiexec_runner.sim.settings import ClusterShape, Slow, parse_slow
from mpiexec_runner.sim.work import UNKNOWN_S, lay_out, measured_law, parse_law


@pytest.mark.parametrize(
    ("text", "mean_s"),
    [
        ("constant:2", 2.0),
        ("uniform:1,3", 2.0),
        ("exponential:2", 2.0),
        ("lognormal:2,0", 2.0),
        ("bimodal:1,11,0.1", 2.0),
    ],
)
def test_laws_have_the_mean_that_they_say(text, mean_s):
    law, draws = parse_law(text), random.Random(1)
    drawn = [law(draws) for _ in range(10_000)]
    assert statistics.fmean(drawn) == pytest.approx(mean_s, rel=0.05)
    assert min(drawn) >= 0


@pytest.mark.parametrize("text", ["", "constant", "constant:", "constant:x", "uniform:1", "constant:-1",
                                  "constant:inf", "constant:nan", "gamma:1,2", "uniform:1,2,3"])  # fmt: skip
def test_a_law_that_is_none_is_refused(text):
    with pytest.raises(UserError, match=r"There are constant:seconds|is not written as"):
        parse_law(text)


def test_durations_come_from_laws_kinds_and_measurements():
    kinds = (kind(1), kind(2, expected_s=7.0), kind(3))
    tasks = [TaskSpec(id_, of, b"") for id_, of in ((1, 1), (2, 2), (3, 3), (4, 3))]
    assert lay_out(kinds, tasks, {}, 0).lasts_s == [UNKNOWN_S, 7.0, UNKNOWN_S, UNKNOWN_S]
    laws = {"kind3": parse_law("constant:3"), "": parse_law("constant:2")}
    assert lay_out(kinds, tasks, laws, 0, {4: 9.0}).lasts_s == [2.0, 2.0, 3.0, 9.0]
    assert set(lay_out(kinds, tasks, {"": measured_law([5.0, 6.0])}, 0).lasts_s) <= {5.0, 6.0}


def test_the_same_seed_draws_the_same_durations():
    tasks = [TaskSpec(id_, 1, b"") for id_ in range(1, 50)]
    first, again, other = (
        lay_out((kind(),), tasks, {"": parse_law("uniform:0,1")}, seed).lasts_s for seed in (1, 1, 2)
    )
    assert first == again != other


# --- faults


def test_a_plan_has_what_its_rates_say():
    rates = parse_faults("kill=2, vanish=1, hang=3, hang_s=7, slow=1, slow_by=4, fail=0.5, poison=2")
    plan = draw_plan(rates, 20, list(range(1, 100)), 50.0, 3, seed=1)
    count = {what: sum(fault.what is what for fault in plan.faults) for what in Misfortune}
    assert count == {Misfortune.KILL: 2, Misfortune.VANISH: 1, Misfortune.HANG: 3, Misfortune.SLOW: 1}
    assert all(0 <= fault.at_s <= 50 and 1 <= fault.worker <= 20 for fault in plan.faults)
    deaths = [fault.worker for fault in plan.faults if fault.what in (Misfortune.KILL, Misfortune.VANISH)]
    assert len(set(deaths)) == 3
    assert len(plan.poison) == 2
    assert plan == draw_plan(rates, 20, list(range(1, 100)), 50.0, 3, seed=1)
    assert plan != draw_plan(rates, 20, list(range(1, 100)), 50.0, 3, seed=2)


def test_attempts_fail_as_often_as_the_plan_says():
    plan = FaultPlan(fail=0.1, drag=0.2, drag_by=3.0, seed=4)
    keys = [(task, attempt) for task in range(1000) for attempt in range(1, 6)]
    assert sum(plan.fails(*key) for key in keys) / len(keys) == pytest.approx(0.1, abs=0.02)
    assert sum(plan.stretch(*key) == 3.0 for key in keys) / len(keys) == pytest.approx(0.2, abs=0.02)
    both = sum(plan.fails(*key) and plan.stretch(*key) == 3.0 for key in keys)
    assert both / len(keys) == pytest.approx(0.02, abs=0.01)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kil=2", "Names are kill"),
        ("kill", "not 'kill'"),
        ("fail=2", "fail=2"),
        ("kill=x", "kill=x"),
        ("kill=-1", "kill=-1"),
    ],
)
def test_a_plan_that_is_none_is_refused(text, told):
    with pytest.raises(UserError, match=told):
        parse_faults(text)


def test_somebody_has_to_be_left():
    with pytest.raises(UserError, match="kill 4 of 4 workers"):
        draw_plan(FaultRates(kill=1, poison=1), 4, [1, 2], 1.0, 3, seed=0)


# --- slow workers


def test_one_of_eight_is_slow():
    shape = ClusterShape(workers=16, slow=(parse_slow("1/8:10"), Slow(1, 16, 2.0)))
    assert [shape.slowness(worker) for worker in range(1, 17)] == [1.0] * 7 + [10.0] + [1.0] * 7 + [20.0]


@pytest.mark.parametrize("text", ["", "1/8", "1:10", "0/8:10", "9/8:10", "1/8:0", "1/8:x", "a/8:1"])
def test_slow_workers_that_are_none_are_refused(text):
    with pytest.raises(UserError, match="1/8:10"):
        parse_slow(text)


def test_workers_of_a_host_follow_one_another():
    hosts = [worker.info.host for worker in ClusterShape(workers=5, hosts=2).make()]
    assert hosts == ["node0001", "node0001", "node0001", "node0002", "node0002"]
