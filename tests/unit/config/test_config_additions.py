"""Tasks that a running task adds: checked like those of a list, with errors in words."""

# ruff: noqa: E501 - messages are easier to read in one line

import msgspec
import pytest

from mpiexec_runner.config.additions import expand_additions
from mpiexec_runner.config.expansion import expand
from mpiexec_runner.config.loading import loads
from mpiexec_runner.errors import ConfigError
from mpiexec_runner.model.tasks import CommandLine, PlainArguments, TaskSpec, When

CONFIG = loads("""
tools: {say: {command: "echo {what}", resources: {cpus: 2}}}
workflow:
  mesh: {command: x, for_each: {h: [1, 2]}}
  refine: {call: "m:refine", depends_on: mesh}
""")
WORKLOAD = expand(CONFIG)
NAMES = {task.name: task.id for task in WORKLOAD.tasks}
PARENT = WORKLOAD.tasks[2]


def added(*entries, parent=PARENT):
    return expand_additions([*entries], parent, NAMES, 10, WORKLOAD.kinds, CONFIG.tools)


def problems(*entries):
    with pytest.raises(ConfigError) as caught:
        added(*entries)
    return caught.value.problems


def arguments(task):
    return msgspec.msgpack.decode(task.payload, type=PlainArguments)


def test_tasks_and_their_kinds():
    kinds, tasks = added(
        {"command": "a {x}", "with": {"x": 1}, "id": "one"},
        {"call": "m:g", "args": [1], "depends_on": "one", "when": "any", "priority": 7},
        {"tool": "say", "with": {"what": "hi"}, "site": "{what}"},
        {"command": "b"},
    )
    assert [(task.id, task.kind, task.name, task.after, task.when, task.parent) for task in tasks] == [
        (10, 4 - 1, "one", (), When.SUCCESS, 3),
        (11, 4, "", (10,), When.ANY, 3),
        (12, 5, "", (), When.SUCCESS, 3),
        (13, 3, "", (), When.SUCCESS, 3),
    ]
    assert [(kind.id, kind.name, kind.work == CommandLine(None)) for kind in kinds] == [
        (3, "command", True),
        (4, "g", False),
        (5, "echo", True),
    ]
    assert kinds[2].needs.cpus == 2
    assert (kinds[1].priority, tasks[2].site) == (7, "hi")
    assert [task.command for task in tasks] == ["a {x}", None, "echo {what}", "b"]
    assert len({task.digest for task in tasks}) == 4


def test_what_references_in_a_command_become_is_no_parameter():
    _, tasks = added({"command": "a {x} {{ mesh-0001.dir }}", "with": {"x": 1}})
    assert arguments(tasks[0]).lifted == ("mesh_0001_dir",)


def test_kinds_that_the_run_has_are_not_made_again():
    first = added({"command": "a"})
    again = expand_additions([{"command": "b"}], PARENT, NAMES, 20, [*WORKLOAD.kinds, *first.kinds])
    assert again.kinds == ()
    assert again.tasks[0].kind == first.tasks[0].kind


def test_they_wait_for_tasks_of_the_run_and_for_each_other():
    tasks = added(
        {"command": "cat {{ mesh-0001.dir }}/x", "id": "one"},
        {
            "call": "m:g",
            "with": {"d": "{{ mesh.all.dir }}", "p": "{{ refine.result.x }}"},
            "depends_on": ["one"],
        },
        {"command": "y", "depends_on": ["mesh"]},
    ).tasks
    assert [(task.after, task.uses) for task in tasks] == [
        ((1,), (1,)),
        ((1, 2, 3, 10), (1, 2, 3)),
        ((1, 2), ()),
    ]
    assert tasks[0].command == "cat {mesh_0001_dir}/x"
    assert arguments(tasks[0]).fields == {"mesh_0001_dir": "{{ mesh-0001.dir }}"}


def test_names_may_begin_with_a_digit_and_hold_dots():
    tasks = added({"command": "a", "id": "1.a"}, {"command": "b {{ 1.a.dir }}"}).tasks
    assert tasks[1].command == "b {_1_a_dir}"
    assert tasks[1].uses == (10,)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([5], ["refine adds a task (entry 0): must be a mapping with the keys of a task, not 5"]),
        ([{}], ["refine adds a task (entry 0): says nothing to run. Give command or call"]),
        ([{"comand": "x"}, {"command": "x {y}"}], [
            "refine adds a task (entry 0): comand: unknown key. Did you mean command?",
            "refine adds a task (entry 1): command: field {y} is filled by no value; with gives nothing. A brace of the command itself is doubled: {{y}}",
        ]),
        ([{"command": "x", "depends_on": ["msh", "mesh-0003"]}], [
            "refine adds a task (entry 0): depends_on: there is no task of that name: 'msh'",
            "refine adds a task (entry 0): depends_on: there is no task of that name: 'mesh-0003'. Did you mean mesh-0002?",
        ]),
        ([{"command": "x {{ refin.dir }}"}], ["refine adds a task (entry 0): {{ refin.dir }}: there is no task of that name: 'refin'. Did you mean refine?"]),
        ([{"command": "x", "id": "refine"}], ["refine adds a task (entry 0): id: 'refine' is already the name of a task of this run"]),
        ([{"command": "x", "id": "a"}, {"command": "x", "id": "a"}], ["refine adds a task (entry 1): id: 'a' is already the name of a task of this run"]),
        ([{"tool": "shout"}], ["refine adds a task (entry 0): tool: there is no tool 'shout'. Tools are say."]),
    ],
)  # fmt: skip
def test_faults(entries, expected):
    assert problems(*entries) == expected


def test_anything_but_a_list_is_refused():
    with pytest.raises(ConfigError) as caught:
        expand_additions({"command": "x"}, TaskSpec(7, 1, b""), {}, 8, [])
    assert caught.value.problems == [
        "task 7 adds a mapping. It must be a list of mappings, one for each task"
    ]
