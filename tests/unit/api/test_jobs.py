"""Tasks of a pipeline as a program describes them: what is refused, and in which order the rest comes."""

import pytest

from mpiexec_runner.api.jobs import Job, Reader, in_order
from mpiexec_runner.api.options import TaskOptions
from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.bound import Ref
from mpiexec_runner.model.tasks import When

READER = Reader({"lammps": "lmp -in {script} -var T {T}"}, TaskOptions())


def read(**given):
    return READER.read(given, lambda: "it")


def job(name, *after):
    return Job(id=name, command="true", after=after)


def test_a_tool_is_a_command_with_a_script():
    made = read(tool="lammps", script="in.lj", **{"with": {"T": 300}}, id="melt", when="any", cpus=2)
    assert made.command == "lmp -in {script} -var T {T}"
    assert made.fields == {"T": 300, "script": "in.lj"}
    assert (made.id, made.when, made.options.cpus) == ("melt", When.ANY, 2)


def test_results_among_the_arguments_are_depended_on():
    made = read(call=max, args=[Ref("a"), [Ref("b")["x"]]], depends_on="c")
    assert made.after == ("c", "a", "b")
    assert made.uses == ("a", "b")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "it: give one of call, command and tool, not none"),
        ({"call": max, "command": "true"}, "not call and command"),
        ({"tool": "lamps"}, "no tool 'lamps'. Did you mean lammps? There are lammps"),
        ({"call": max, "pririty": 3}, "no key 'pririty'. Did you mean priority?"),
        ({"call": max, "priority": 11}, "it: priority=11: give 1 to 10"),
        ({"call": "no target"}, "Give a function, or module:function"),
        ({"command": "echo {x}"}, "its command needs x; it is given nothing"),
        ({"command": "echo {x"}, "is no template"),
        ({"command": "true", "args": [1]}, "no args"),
        ({"call": max, "when": "never"}, "Give one of success, any, failure"),
        ({"call": max, "id": "a b"}, "cannot be the id of a task"),
        ({"call": max, "id": "a.result"}, "cannot be the id of a task"),
        ({"call": max, "tags": "gpu"}, "give a list of them"),
        ({"call": max, "ranks": 2, "mode": "process"}, "Leave mode out"),
    ],
)
def test_what_cannot_be_is_refused(given, said):
    with pytest.raises(UserError) as refused:
        READER.read(given, lambda: "it")
    assert said in str(refused.value)


def test_tasks_come_behind_those_that_they_depend_on():
    jobs = [job("d", "b", "c"), job("b", "a"), job("c", "a", "old"), job("a")]
    assert [one.id for one in in_order(jobs, {"old"})] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ([job("a", "b"), job("b", "c"), job("c", "a"), job("x", "a")], "in a cycle: a -> b -> c -> a"),
        ([job("x", "a"), job("a", "a")], "in a cycle: a -> a"),
        ([job("a", "mish")], "a depends on mish, which is no task of this pipeline. Did you mean mesh?"),
        ([job("a"), job("a")], "there is a task a already"),
        ([job("mesh")], "there is a task mesh already"),
    ],
)
def test_cycles_and_unknown_and_double_names_are_refused(jobs, said):
    with pytest.raises(UserError) as refused:
        in_order(jobs, {"mesh"})
    assert said in str(refused.value)
