"""Configurations turned into tasks: numbers, kinds, payloads, names and digests."""

# ruff: noqa: E501 - messages are easier to read in one line

import msgspec
import pytest

from mpiexec_runner.config.expansion import expand
from mpiexec_runner.config.loading import loads
from mpiexec_runner.errors import ConfigError
from mpiexec_runner.execute.template import render
from mpiexec_runner.model.tasks import CallByName, CommandLine, Mode, PlainArguments, RetryRule, TaskKind


def arguments(task):
    return msgspec.msgpack.decode(task.payload, type=PlainArguments)


def fields(workload):
    return [arguments(task).fields for task in workload.tasks]


def digests(text, directory=None):
    return [task.digest for task in expand(loads(text, directory=directory)).tasks]


def problems(text, directory=None):
    with pytest.raises(ConfigError) as caught:
        expand(loads(text, directory=directory))
    return [problem.replace(f"{directory}/", "") for problem in caught.value.problems]


class TestSweeps:
    TEXT = (
        "sweep: {command: 'a {T}', parameters: {T: [1, 2], s: {range: [0, 3]}}, exclude: [T == 2 and s > 0]}"
    )

    def test_one_kind_for_all_tasks(self):
        text = """
            sweep:
              call: package.module:function
              parameters: {T: 1}
              mode: process
              priority: 7
              timeout_s: 9
              retries: {max: 2, backoff_s: 3}
              environment: {A: b}
              max_output: 1KiB
        """
        assert expand(loads(text)).kinds == (
            TaskKind(
                id=1,
                name="function",
                work=CallByName("package.module:function"),
                mode=Mode.PROCESS,
                priority=7,
                timeout_s=9.0,
                retry=RetryRule(max=2, backoff_s=3.0, jitter=0.1),
                environment={"A": "b"},
                max_output_bytes=1024,
                keep=True,
            ),
        )

    def test_tasks(self):
        workload = expand(loads(self.TEXT), first_id=5)
        assert workload.kinds[0].work == CommandLine("a {T}")
        assert workload.kinds[0].name == "a"
        assert [task.id for task in workload.tasks] == [5, 6, 7, 8]
        assert {(task.kind, task.name, task.command) for task in workload.tasks} == {(1, "", None)}
        assert fields(workload) == [{"T": 1, "s": 0}, {"T": 1, "s": 1}, {"T": 1, "s": 2}, {"T": 2, "s": 0}]
        assert workload.duplicates == 0

    def test_the_same_every_time(self):
        text = "sweep: {command: a, parameters: {x: {uniform: [0, 1], n: 5}, y: {lhs: [0, 1]}}, samples: 4}"
        assert expand(loads(text)) == expand(loads(text))
        assert digests(text) != digests("seed: 1\n" + text)

    def test_points_with_the_same_values_run_once(self):
        workload = expand(loads("sweep: {command: a, parameters: {x: [1, 2, 1, 1], y: [a, a]}}"))
        assert fields(workload) == [{"x": 1, "y": "a"}, {"x": 2, "y": "a"}]
        assert workload.duplicates == 6

    def test_values_that_are_written_differently_are_different(self):
        workload = expand(loads("sweep: {command: a, parameters: {x: [1, 1.0, true, '1']}}"))
        assert [type(point["x"]) for point in fields(workload)] == [int, float, bool, str]

    def test_include_keeps_what_any_condition_meets(self):
        text = "sweep: {command: a, parameters: {x: {range: [0, 6]}}, include: [x < 2, x > 4], exclude: [x == 0]}"
        assert [point["x"] for point in fields(expand(loads(text)))] == [1, 5]

    @pytest.mark.parametrize(
        ("conditions", "problem"),
        [
            ("exclude: [x > 0]", "sweep.exclude: leaves no point to run. Check the conditions"),
            ("include: [x > 9]", "sweep.include: leaves no point to run. Check the conditions"),
            (
                "include: [x > 1], exclude: [x == 2]",
                "sweep.include and exclude: leaves no point to run. Check the conditions",
            ),
            (
                "exclude: [1 / (x - 2) > 5]",
                "sweep.exclude.0: '1 / (x - 2) > 5' has no answer at x=2: division by zero",
            ),
        ],
    )
    def test_nothing_left_is_an_error(self, conditions, problem):
        assert problems(f"sweep: {{command: a, parameters: {{x: [1, 2]}}, {conditions}}}") == [problem]

    def test_a_hundred_thousand_points_are_of_one_kind(self):
        text = "sweep: {command: a, parameters: {x: {range: [0, 100000]}, y: 1, z: a}, exclude: [x < 0]}"
        expanded = expand(loads(text))
        assert len(expanded.tasks) == 100_000
        assert len(expanded.kinds) == 1


class TestDigests:
    BASE = "{command: 'a {x}', with: {x: 1, y: {b: 2, c: 3}}}"

    def test_they_are_part_of_the_journal_and_do_not_change(self):
        (digest,) = digests(f"tasks: [{self.BASE}]")
        assert digest.hex() == "502551388d96272f16a221c4b22853af"

    @pytest.mark.parametrize(
        "same",
        [
            "{command: 'a {x}', with: {y: {c: 3, b: 2}, x: 1}}",
            "{command: 'a {x}', with: {x: 1, y: {b: 2, c: 3}}, priority: 9, timeout_s: 5, retries: {max: 3}}",
            "{command: 'a {x}', with: {x: 1, y: {b: 2, c: 3}}, id: named, max_output: 5}",
        ],
    )
    def test_how_a_task_is_scheduled_does_not_matter(self, same):
        assert digests(f"tasks: [{same}]") == digests(f"tasks: [{self.BASE}]")

    @pytest.mark.parametrize(
        "other",
        [
            "{command: 'b {x}', with: {x: 1, y: {b: 2, c: 3}}}",
            "{command: ['a {x}'], with: {x: 1, y: {b: 2, c: 3}}}",
            "{command: 'a {x}', with: {x: 2, y: {b: 2, c: 3}}}",
            "{command: 'a {x}', with: {x: 1.0, y: {b: 2, c: 3}}}",
            "{command: 'a {x}', with: {x: 1, y: {b: 2, c: 4}}}",
            "{command: 'a {x}', with: {x: 1, y: {b: 2, c: 3}}, environment: {A: b}}",
            "{command: 'a {x}', with: {x: 1, y: {b: 2, c: 3}}, mode: command}",
        ],
    )
    def test_what_a_task_does_matters(self, other):
        assert digests(f"tasks: [{other}]") != digests(f"tasks: [{self.BASE}]")

    def test_a_call_is_no_command(self):
        assert digests("tasks: [{call: 'a:b'}]") != digests("tasks: [{command: 'a:b'}]")

    def test_a_task_keeps_its_digest_when_it_moves_to_a_sweep_or_a_file(self, tmp_path):
        (tmp_path / "a.csv").write_text("x,y\n1,2\n")
        expected = digests("tasks: [{command: 'a {x}', with: {y: 2, x: 1}}]")
        assert digests("sweep: {command: 'a {x}', parameters: {x: 1, y: 2}}") == expected
        assert digests("tasks: {file: a.csv, command: 'a {x}'}", tmp_path) == expected


class TestLists:
    def test_kinds_are_shared(self):
        text = """
            tasks:
              - {command: a 1}
              - {command: "a {x}", with: {x: 2}, id: second}
              - {command: [b, "3"], priority: 1}
              - {call: "m:f.g", args: [1], with: {y: 2}}
              - {call: "m:f.g"}
              - {command: c 4}
        """
        workload = expand(loads(text))
        commands, other, call = workload.kinds
        assert (commands.work, commands.name) == (CommandLine(None), "command")
        assert (other.work, other.name, other.priority) == (CommandLine(None), "b", 1)
        assert (call.work, call.name) == (CallByName("m:f.g"), "f.g")
        assert [task.kind for task in workload.tasks] == [1, 1, 2, 3, 3, 1]
        assert [task.command for task in workload.tasks] == ["a 1", "a {x}", ("b", "3"), None, None, "c 4"]
        assert [task.name for task in workload.tasks] == ["", "second", "", "", "", ""]
        assert arguments(workload.tasks[3]) == PlainArguments((1,), {"y": 2})

    def test_equal_tasks_are_all_run(self):
        assert len(expand(loads("tasks: [{command: a}, {command: a}]")).tasks) == 2


class TestFiles:
    def test_commands(self, tmp_path):
        text = "\ufeff# a comment\n\n  echo {x} 'a b'  \n\t# another\nawk '{print $1}' f\n"
        (tmp_path / "c.txt").write_text(text, encoding="utf-8")
        workload = expand(loads("tasks: {file: c.txt, timeout_s: 5}", directory=tmp_path))
        assert len(workload.kinds) == 1
        assert (workload.kinds[0].work, workload.kinds[0].timeout_s) == (CommandLine(None), 5)
        assert [render(task.command, {})[2] for task in workload.tasks] == [
            "echo {x} 'a b'",
            "awk '{print $1}' f",
        ]

    def test_many_commands_are_one_kind(self, tmp_path):
        (tmp_path / "c.txt").write_text("".join(f"run {i}\n" for i in range(1000)))
        workload = expand(loads("tasks: {file: c.txt}", directory=tmp_path))
        assert [kind.name for kind in workload.kinds] == ["run"]
        assert len({task.digest for task in workload.tasks}) == 1000

    def test_json_lines_are_tasks(self, tmp_path):
        lines = '{"command": "a {x}", "with": {"x": 1}, "id": "one"}\n\n{"call": "m:f", "priority": 9}\n'
        (tmp_path / "c.jsonl").write_text(lines)
        workload = expand(loads("tasks: {file: c.jsonl, priority: 2, retries: {max: 1}}", directory=tmp_path))
        assert [(kind.priority, kind.retry.max) for kind in workload.kinds] == [(2, 1), (9, 1)]
        assert [task.name for task in workload.tasks] == ["one", ""]

    def test_json_lines_are_fields(self, tmp_path):
        (tmp_path / "c.jsonl").write_text('{"x": [1], "id": 7}\n{"x": "a\u2028b"}\n', encoding="utf-8")
        workload = expand(loads("tasks: {file: c.jsonl, command: [a, '{x}']}", directory=tmp_path))
        assert workload.kinds[0].work == CommandLine(("a", "{x}"))
        assert [(task.name, task.command) for task in workload.tasks] == [("7", None), ("", None)]
        assert fields(workload) == [{"x": [1]}, {"x": "a\u2028b"}]

    def test_csv_cells_that_read_as_numbers_are_numbers(self, tmp_path):
        rows = 'id,a,b,c\n01,1,-2.5,x\n02,1e3, 7 ,"y, z"\n\n03,007,,nan\n04,+5,1_0,0x1\n'
        (tmp_path / "c.csv").write_text(rows)
        workload = expand(loads("tasks: {file: c.csv, call: 'm:f'}", directory=tmp_path))
        assert [task.name for task in workload.tasks] == ["01", "02", "03", "04"]
        assert fields(workload) == [
            {"a": 1, "b": -2.5, "c": "x"},
            {"a": 1000.0, "b": 7, "c": "y, z"},
            {"a": "007", "b": "", "c": "nan"},
            {"a": 5, "b": "1_0", "c": "0x1"},
        ]

    def test_an_id_column_is_a_field_where_it_is_used(self, tmp_path):
        (tmp_path / "c.csv").write_text("id,x\n007,1\n")
        workload = expand(loads("tasks: {file: c.csv, command: 'a {x} {id}'}", directory=tmp_path))
        assert fields(workload) == [{"id": "007", "x": 1}]

    @pytest.mark.parametrize(
        ("name", "content", "beside", "expected"),
        [
            ("no.txt", None, "", ["tasks.file: no.txt cannot be read: No such file or directory"]),
            ("c.txt", "# only\n\n", "", ["tasks.file: c.txt holds no task"]),
            ("c.txt", "a\0b\nc", "", ["c.txt:1: holds a null character, which no command can"]),
            ("c.txt", b"caf\xe9", "", ["tasks.file: c.txt is no UTF-8 text: unexpected end of data"]),
            ("c.jsonl", "", "", ["tasks.file: c.jsonl holds no task"]),
            (
                "c.jsonl",
                '{"command": "a"}\n{\n[1]\n{"comand": "a"}\n{"command": "a {x}"}\n{"command": "a", "id": ".."}',
                "",
                [
                    "c.jsonl:2: is no JSON: Expecting property name enclosed in double quotes (column 2)",
                    "c.jsonl:3: must be a JSON object with the keys of a task, not a list",
                    "c.jsonl:4: comand: unknown key. Did you mean command?",
                    ("c.jsonl:5: command: field {x} is filled by no value; with gives nothing. "
                    "A brace of the command itself is doubled: {{x}}"),
                    ("c.jsonl:6: id: '..' is no usable name: 1 to 100 of the characters A-Z a-z 0-9 . _ - "
                    "(it may become part of a path), and no dot first"),
                ],
            ),
            (
                "c.jsonl",
                '{"x": 1}\n{"y": 1}',
                ", command: 'a {x}'",
                [("c.jsonl:2: command: field {x} is filled by no value; with gives y. "
                 "A brace of the command itself is doubled: {{x}}")],
            ),
            (
                "c.jsonl",
                '{"command": "a", "id": "x"}\n{"command": "a", "id": "x"}',
                "",
                ["c.jsonl:2: id: 'x' is already the id of c.jsonl:1. Each id names one task"],
            ),
            ("c.csv", "", ", command: a", ["tasks.file: c.csv holds no task"]),
            ("c.csv", "x,y\n", ", command: a", ["tasks.file: c.csv holds no task"]),
            (
                "c.csv",
                "x,y\n1,2\n",
                ", command: 'a {X}'",
                ["c.csv:1: field {X} is filled by no column; columns are x, y. Did you mean x?"],
            ),
            (
                "c.csv",
                "x,x,a b\n1,2,3\n",
                ", command: a",
                [
                    "c.csv:1: the column 'x' is there twice",
                    "c.csv:1: 'a b' cannot name a column: use letters, digits and underscores, no digit first",
                ],
            ),
            ("c.csv", "x,y\n1,2\n3\n", ", command: a", ["c.csv:3: has 1 cells; there are 2 columns"]),
            ("c.csv", 'x\n"a\n', ", command: a", ["c.csv:2: is no CSV: unexpected end of data"]),
            (
                "c.csv",
                "id\ntask_0001\n",
                ", command: a",
                ["c.csv:2: id: 'task_0001' looks like the name of a task without one. Choose another"],
            ),
        ],
    )  # fmt: skip
    def test_faults(self, tmp_path, name, content, beside, expected):
        if content is not None:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        assert problems(f"tasks: {{file: {name}{beside}}}", tmp_path) == expected

    def test_a_file_that_is_wrong_everywhere_is_not_told_to_the_end(self, tmp_path):
        (tmp_path / "c.jsonl").write_text("x\n" * 1000)
        told = problems("tasks: {file: c.jsonl}", tmp_path)
        assert len(told) == 21
        assert told[-1] == "c.jsonl: more lines were not looked at"
