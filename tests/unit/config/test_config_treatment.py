"""Settings of tasks: what kinds they make, how they are handed down by defaults and tools, what is refused."""

# ruff: noqa: E501 - messages are easier to read in one line

import textwrap

import msgspec
import pytest

from mpiexec_runner.config.expansion import expand
from mpiexec_runner.config.loading import loads, resolved_yaml
from mpiexec_runner.errors import ConfigError
from mpiexec_runner.model.tasks import FailureRule, Mode, Needs, PlainArguments, RetryRule


def expanded(text, directory=None):
    return expand(loads(textwrap.dedent(text), directory=directory))


def problems(text, directory=None):
    with pytest.raises(ConfigError) as caught:
        expand(loads(textwrap.dedent(text), source="a.yaml", directory=directory))
    return [problem.replace(f"{directory}/", "") for problem in caught.value.problems]


def fields(task):
    return msgspec.msgpack.decode(task.payload, type=PlainArguments).fields


ALL = """
    resources: {cpus: 4, memory: 2GiB, gpus: 1, tags: [ssd, gpu, ssd], ranks: 8}
    labels: [licence, big]
    duration_s: 90
    timeout_s: 600
    timeout_factor: 4
    speculate: false
    site: "{x}"
    retries:
      max: 3
      jitter: 0.5
      elsewhere: false
      on:
        out_of_memory: {max: 5, memory: x2}
        exit_code:75: {max: 100, backoff_s: 0}
        signal:segv: {max: 0}
        exception:requests.ConnectionError: {memory: 1.5}
        timeout: {max: 1}
"""


def test_what_settings_make_of_a_kind():
    workload = expanded(
        f"defaults: {{priority: 3}}\nsweep:\n  command: a\n  parameters: {{x: [1, 2]}}\n{textwrap.dedent(ALL).replace(chr(10), chr(10) + '  ')}"
    )
    (kind,) = workload.kinds
    assert kind.needs == Needs(4, 2 * 2**30, 1, ("gpu", "ssd"), 8)
    assert (kind.labels, kind.expected_s, kind.speculate) == (("big", "licence"), 90.0, False)
    assert (kind.timeout_s, kind.timeout_factor, kind.priority) == (600.0, 4.0, 3)
    assert kind.retry == RetryRule(
        max=3,
        backoff_s=5.0,
        jitter=0.5,
        elsewhere=False,
        on=(
            FailureRule("memory", 5, None, 2.0),
            FailureRule("exit_code:75", 100, 0.0),
            FailureRule("signal:SIGSEGV", 0),
            FailureRule("exception:requests.ConnectionError", memory_factor=1.5),
            FailureRule("timeout", 1),
        ),
    )
    assert [task.site for task in workload.tasks] == ["1", "2"]


def test_what_nothing_says():
    (kind,) = expanded("tasks: [{call: 'math:sqrt'}]").kinds
    assert (kind.needs, kind.labels, kind.expected_s, kind.timeout_factor, kind.speculate) == (
        Needs(), (), None, None, True,
    )  # fmt: skip
    assert kind.retry == RetryRule(0, 5.0, 0.1, (), elsewhere=True)


@pytest.mark.parametrize(
    "setting",
    [
        "resources: {cpus: 2}",
        "resources: {tags: [ssd]}",
        "labels: [a]",
        "duration_s: 5",
        "timeout_factor: 3",
        "speculate: false",
        "site: s",
        "retries: {on: {timeout: {max: 1}}}",
        "retries: {elsewhere: false}",
    ],
)
def test_another_setting_is_another_kind_but_no_other_task(setting):
    workload = expanded(f"tasks: [{{command: a}}, {{command: a, {setting}}}, {{command: b, {setting}}}]")
    assert [task.kind for task in workload.tasks] == [1, 2, 2]
    assert workload.tasks[0].digest == workload.tasks[1].digest


def test_the_order_of_words_makes_no_other_kind():
    text = "tasks: [{command: a, labels: [x, y], resources: {tags: [a, b]}}, {command: a, labels: [y, x], resources: {tags: [b, a]}}]"
    assert len(expanded(text).kinds) == 1


def test_defaults_of_resources_and_retries_are_handed_down_by_key():
    text = """
        defaults:
          resources: {cpus: 2, memory: 1GiB}
          retries: {max: 3, on: {timeout: {max: 0}}}
        tasks:
          - {command: a, resources: {cpus: 4}, retries: {backoff_s: 1}}
          - {command: b, resources: {memory: 0}, retries: {on: {}}}
          - {command: c}
    """
    config = loads(textwrap.dedent(text))
    one, two, three = expand(config).kinds
    assert (one.needs, one.retry.max, one.retry.backoff_s) == (Needs(4, 2**30), 3, 1.0)
    assert one.retry.on == three.retry.on == (FailureRule("timeout", 0),)
    assert (two.needs, two.retry.on) == (Needs(2), ())
    assert loads(resolved_yaml(config)) == config


def test_hybrid_is_another_word_for_auto():
    assert loads("tasks: [{call: 'a:b', mode: hybrid}]").tasks[0].mode is Mode.AUTO


def task(written):
    return f"tasks:\n  - {written}\n"


BAD = [
    (task("{command: a, resources: {cpu: 1}}"), "a.yaml:2: tasks.0.resources.cpu: unknown key. Did you mean cpus?"),
    (task("{command: a, resources: {memory: lots}}"), "a.yaml:2: tasks.0.resources.memory: must be a size such as 10MiB, 2 GB or a number of bytes, not 'lots'"),
    (task("{command: a, resources: {ranks: 0}}"), "a.yaml:2: tasks.0.resources.ranks: must be at least 1, not 0"),
    (task("{command: a, resources: {tags: ssd}}"), "a.yaml:2: tasks.0.resources.tags: must be a list, not 'ssd'"),
    (task("{command: a, labels: ['a b']}"), "a.yaml:2: tasks.0.labels.0: 'a b' is no usable word: 1 to 100 letters, digits and . _ : + - (a letter or digit first)"),
    (task("{command: a, timeout_factor: 1}"), "a.yaml:2: tasks.0.timeout_factor: must be above 1, not 1"),
    (task("{command: a, retries: {jitter: 2}}"), "a.yaml:2: tasks.0.retries.jitter: must be at most 1, not 2"),
    (task("{command: a, retries: {on: {timeot: {max: 1}}}}"), "a.yaml:2: tasks.0.retries.on.timeot: 'timeot' is no class of failure. They are exception, exit_code, signal, timeout, memory, not_found, result, setup, storage, out_of_memory. Did you mean timeout?"),
    (task("{command: a, retries: {on: {exit_code:0: {max: 1}}}}"), "a.yaml:2: tasks.0.retries.on.exit_code:0: an exit code of a failure is 1 to 255, as in exit_code:75, not '0'"),
    (task("{command: a, retries: {on: {signal:SIGFOO: {max: 1}}}}"), "a.yaml:2: tasks.0.retries.on.signal:SIGFOO: 'SIGFOO' is no signal. Write it as in signal:SIGSEGV"),
    (task("{command: a, retries: {on: {timeout:5: {max: 1}}}}"), "a.yaml:2: tasks.0.retries.on.timeout:5: timeout has nothing after a colon; only exit_code, signal, exception have. Write timeout"),
    (task("{command: a, retries: {on: {exception:a-b: {max: 1}}}}"), "a.yaml:2: tasks.0.retries.on.exception:a-b: 'a-b' names no type of exception. Write it as in exception:ConnectionError"),
    (task("{command: a, retries: {on: {memory: {memory: 0.5}}}}"), "a.yaml:2: tasks.0.retries.on.memory.memory: must be how many times as much memory, 1 to 1024, such as x2 or 1.5, not 0.5"),
    (task("{command: a, site: '{x}'}"), "a.yaml:2: tasks.0.site: field {x} is filled by no value; with gives nothing. A brace of the command itself is doubled: {{x}}"),
    (task("{call: 'a:b', mode: process, resources: {ranks: 2}}"), "a.yaml:2: tasks.0.mode: a call on 2 ranks runs in the ranks themselves. Leave out mode, or ranks"),
    (task("{call: 'a:b', mode: thread, timeout_factor: 2}"), "a.yaml:2: tasks.0.mode: a thread task cannot be ended after timeout_factor. Write process, or leave mode out"),
    (task("{call: 'a:b', mode: inline, resources: {memory: 1GB}}"), "a.yaml:2: tasks.0.mode: an inline task cannot be ended when it takes more than its memory. Write process, or leave mode out"),
    ("limits: {max_memory: lots}\ntasks: [{command: a}]", "a.yaml:1: limits.max_memory: must be a size such as 10MiB, 2 GB or a number of bytes, not 'lots'"),
    ("limits: {per_label: {a: 0}}\ntasks: [{command: a}]", "a.yaml:1: limits.per_label.a: must be at least 1, not 0"),
    ("tools: {a: {comand: x}}\ntasks: [{tool: a}]", ["a.yaml:1: tools.a.command: is missing", "a.yaml:1: tools.a.comand: unknown key. Did you mean command?"]),
    ("tools: {a: {command: 'x {1}'}}\ntasks: [{tool: a}]", "a.yaml:1: tools.a.command: {1} is no field: a field needs a name. Braces that stand for themselves are doubled: {{ and }}"),
    ("tools: {a: {command: x, mode: inline}}\ntasks: [{tool: a}]", "a.yaml:1: tools.a.mode: inline is for calls. Write auto or command, or leave it out, for a command"),
    (task("{tool: lammps}"), "a.yaml:2: tasks.0.tool: there is no tool 'lammps'. Write it under tools"),
    ("tools: {lammps: {command: x}, foam: {command: y}}\ntasks:\n  - {tool: lamps}", "a.yaml:3: tasks.0.tool: there is no tool 'lamps'. Tools are lammps, foam. Did you mean lammps?"),
    ("tools: {a: {command: x}}\ntasks: [{tool: a, command: y}]", "a.yaml:2: tasks.0.tool: give one of command, call and tool"),
    ("tools: {a: {command: 'x {script} {T}'}}\ntasks:\n  - {tool: a, script: s}", "a.yaml:3: tasks.0.command: field {T} is filled by no value; with gives script. A brace of the command itself is doubled: {{T}}"),
    ("tools: {a: {command: 'x {script}'}}\ntasks: [{tool: a, script: s, with: {script: t}}]", "a.yaml:2: tasks.0.script: is given under with too. Remove one"),
    (task("{command: x, script: a}"), "a.yaml:2: tasks.0.script: is for the tools of this configuration, and none is named here. Give tool and tools"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_bad_input(text, expected):
    assert problems(text) == ([expected] if isinstance(expected, str) else expected)


def test_limits():
    config = loads(
        "limits: {max_memory: 20GiB, per_label: {licence: 4}, concurrent: 9}\ntasks: [{command: a}]"
    )
    assert (config.limits.max_memory, config.limits.per_label) == (20 * 2**30, {"licence": 4})
    assert loads(resolved_yaml(config)) == config


class TestTools:
    TOOLS = """
        defaults: {priority: 2, resources: {memory: 1GiB}}
        tools:
          lammps: {command: "lmp -in {script} -var T {T}", resources: {cpus: 4}, timeout_s: 60, environment: {A: b}}
    """

    def test_a_task(self, tmp_path):
        workload = expanded(
            self.TOOLS + "    tasks: [{tool: lammps, script: in.lj, with: {T: 1}, resources: {gpus: 1}}]",
            tmp_path,
        )
        (kind,), (one,) = workload.kinds, workload.tasks
        assert (kind.priority, kind.needs, kind.timeout_s) == (2, Needs(4, 2**30, 1), 60)
        assert kind.environment == {"A": "b"}
        assert one.command == "lmp -in {script} -var T {T}"
        assert fields(one) == {"T": 1, "script": str(tmp_path / "in.lj")}

    def test_a_sweep(self):
        workload = expanded(
            self.TOOLS + "    sweep: {tool: lammps, script: /in.lj, parameters: {T: [1, 2]}, timeout_s: null}"
        )
        assert [fields(one) for one in workload.tasks] == [
            {"T": 1, "script": "/in.lj"},
            {"T": 2, "script": "/in.lj"},
        ]
        assert workload.kinds[0].timeout_s is None

    def test_a_job(self):
        workload = expanded(
            self.TOOLS + "    workflow: {a: {tool: lammps, script: '/a {b}', for_each: {T: [1, 2]}}}"
        )
        assert fields(workload.tasks[1]) == {"T": 2, "script": "/a {b}"}
        assert workload.kinds[0].needs.cpus == 4

    def test_lines_of_a_file(self, tmp_path):
        (tmp_path / "c.csv").write_text("T,script\n1,/a\n")
        workload = expanded(self.TOOLS + "    tasks: {file: c.csv, tool: lammps, priority: 9}", tmp_path)
        assert (workload.kinds[0].priority, workload.kinds[0].needs.cpus) == (9, 4)
        assert fields(workload.tasks[0]) == {"T": 1, "script": "/a"}
        (tmp_path / "c.jsonl").write_text(
            '{"tool": "lammps", "script": "a", "with": {"T": 1}, "resources": {"gpus": 2}}\n{"tool": "lamps"}\n'
        )
        text = self.TOOLS + "    tasks: {file: c.jsonl, priority: 9, timeout_s: 5}"
        assert problems(text, tmp_path) == [
            "c.jsonl:2: tool: there is no tool 'lamps'. Tools are lammps. Did you mean lammps?"
        ]
        (tmp_path / "c.jsonl").write_text((tmp_path / "c.jsonl").read_text().splitlines()[0])
        workload = expanded(text, tmp_path)
        (kind,) = workload.kinds
        assert (kind.priority, kind.timeout_s, kind.needs) == (9, 60, Needs(4, 2**30, 2))
        assert fields(workload.tasks[0])["script"] == str(tmp_path / "a")
        config = loads(textwrap.dedent(text), directory=tmp_path)
        assert expand(loads(resolved_yaml(config))) == workload

    def test_the_resolved_configuration_names_no_tool(self):
        config = loads(textwrap.dedent(self.TOOLS) + "tasks: [{tool: lammps, script: in.lj, with: {T: 1}}]")
        assert loads(resolved_yaml(config)) == config
        assert "tool:" not in resolved_yaml(config)
