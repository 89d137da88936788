"""``mpiexec-runner simulate``, called as the console script calls it."""

import json
import sys

import pytest

from mpiexec_runner.cli.main import main
from mpiexec_runner.model.events import KindsRegistered, TasksFinished, TasksSubmitted
from mpiexec_runner.model.tasks import CommandLine, Outcome, TaskKind, TaskSpec, Verdict
from mpiexec_runner.storage.journal import JournalWriter
from mpiexec_runner.storage.rundir import RunDirectory

CONFIG = """
sweep:
  command: "true {x}"
  parameters: {x: {range: [0, 40]}}
"""


@pytest.fixture
def simulate_it(tmp_path, monkeypatch, capsys):
    """Calls the command; its code, and what it printed on stdout and stderr."""
    (tmp_path / "sweep.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["mpiexec-runner", "simulate", "sweep.yaml", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return call


def test_policies_are_compared(simulate_it):
    code, out, err = simulate_it(
        "-n", "4", "--duration", "uniform:1,3", "--slow", "1/4:10", "--seed", "3",
        "--placement", "least_loaded", "--placement", "random",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "40 tasks on 4 workers with 4 slots in all, seed 3" in out
    assert "least_loaded" in out
    assert "random" in out


def test_json_says_all_and_the_same_each_time(simulate_it):
    words = ("-n", "4", "--json", "--duration", "lognormal:1,1", "--faults", "kill=1,fail=0.1")
    code, out, err = simulate_it(*words)
    assert (code, err) == (0, "")
    (report,) = json.loads(out)
    assert report["tasks"] == report["succeeded"] + report["failed"] == 40
    assert report["lost_workers"] == 1
    assert len(report["by_worker"]) == 4
    assert sum(report["by_worker"]) / 4 == pytest.approx(report["utilisation"])
    assert report["ratio"] == pytest.approx(report["makespan_s"] / report["oracle_s"])
    assert simulate_it(*words)[1] == out


def test_slots_come_from_the_configuration_unless_given(simulate_it):
    _, out, _ = simulate_it("-n", "2", "--set", "workers.slots=3")
    assert "with 6 slots in all" in out
    _, out, _ = simulate_it("-n", "2", "--set", "workers.slots=3", "--slots", "2")
    assert "with 4 slots in all" in out


def test_what_went_wrong_is_said(simulate_it):
    _, out, _ = simulate_it("-n", "5", "--faults", "poison=1")
    assert "least_loaded: 1 task failed" in out
    assert "least_loaded: workers were lost 3 times" in out


def test_durations_are_taken_from_a_run(simulate_it, tmp_path):
    directory = RunDirectory.create(tmp_path / "runs", "measured", config="name: measured\n")
    journal = JournalWriter(directory.journal, run_id="measured", epoch=1)
    tasks = [TaskSpec(id_, 1, b"") for id_ in range(1, 21)]
    outcomes = [Outcome(spec.id, 1, Verdict.SUCCEEDED, 1.0, 25.0) for spec in tasks]
    kind = TaskKind(id=1, name="true", work=CommandLine("true {x}"))
    journal.append(1.0, [KindsRegistered((kind,)), TasksSubmitted(tasks), TasksFinished(1, outcomes)])
    journal.close()
    code, out, err = simulate_it("-n", "2", "--durations", str(directory.path), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)[0]["bound_s"] == pytest.approx(40 * 25.0 / 2)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("-n", "0"), 2, "--workers"),
        ((), 2, "--workers"),
        (("-n", "4", "--duration", "gamma:1"), 2, "There are constant:seconds"),
        (("-n", "4", "--duration", "foo=constant:1"), 2, "there is no kind of tasks 'foo'. There are true"),
        (("-n", "4", "--durations", "nowhere"), 2, "nowhere does not exist"),
        (("-n", "4", "--faults", "kill=4"), 2, "leave at least one"),
        (("-n", "4", "--slow", "2"), 2, "1/8:10"),
        (("-n", "4", "--placement", "best"), 3, "no such policy"),
        (("-n", "4", "--set", "sweep.speed=3"), 3, "speed"),
    ],
)
def test_mistakes_are_told(simulate_it, words, code, told):
    ended, out, err = simulate_it(*words)
    assert (ended, out) == (code, "")
    assert told in err
