"""Loading: good files give what they say, and each fault has its place, its reason and its remedy."""

# ruff: noqa: E501 - the table of messages is easier to read with one case a line

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiexec_runner.config.loading import load, loads, resolved_yaml
from mpiexec_runner.config.models import RunConfig
from mpiexec_runner.config.parameters import Linspace
from mpiexec_runner.errors import ConfigError, ExitCode
from mpiexec_runner.model.tasks import Mode

SWEEP = """\
name: lattice
seed: 7
sweep:
  command: "lmp -in in.lj -var T {T} -var seed {seed}"
  parameters:
    T:    {linspace: [0.7, 1.3, 7]}
    seed: {range: [0, 4]}
    tag: x
    pairs: [[1, {a: null}], [2, {a: 1e-3}]]
  exclude: ["T > 1.2 and seed == 3"]
  timeout_s: 600
  retries: {max: 3, backoff_s: 5}
  environment: {OMP_NUM_THREADS: 2}
  max_output: 2 MB
scheduler: {work_stealing: false}
heartbeat: {interval_s: 5, timeout_s: 90}
run: {dir: runs, task_dirs: true}
"""
TASKS = """\
tasks:
  - {id: prep, command: ["sh", "-c", "echo {x}", 3], with: {x: 1}, priority: 8}
  - {call: "math:sqrt", args: [2]}
"""


def problems(text, overrides=()):
    with pytest.raises(ConfigError) as caught:
        loads(textwrap.dedent(text), overrides, source="a.yaml")
    assert caught.value.exit_code is ExitCode.CONFIG
    return caught.value.problems


def test_a_sweep():
    config = loads(SWEEP)
    assert (config.name, config.seed, config.tasks) == ("lattice", 7, None)
    assert config.sweep.parameters["T"] == Linspace(linspace=(0.7, 1.3, 7))
    assert config.sweep.parameters["pairs"] == [[1, {"a": None}], [2, {"a": 0.001}]]
    assert config.sweep.environment == {"OMP_NUM_THREADS": "2"}
    assert config.sweep.max_output == 2_000_000
    assert config.sweep.retries.max == 3
    assert config.scheduler.work_stealing is False


def test_a_list_of_tasks():
    first, second = loads(TASKS).tasks
    assert first.command == ("sh", "-c", "echo {x}", "3")
    assert (first.id, first.with_, first.priority, second.priority) == ("prep", {"x": 1}, 8, 5)
    assert (second.call, second.args) == ("math:sqrt", [2])


def test_the_name_comes_from_the_file(tmp_path):
    file = tmp_path / "my sweep (2).yaml"
    file.write_text(TASKS)
    assert load(file).name == "my-sweep-2"
    assert load(file, ["name=other"]).name == "other"


def test_a_task_file_is_relative_to_the_configuration(tmp_path):
    (tmp_path / "a.yaml").write_text("tasks: {file: sub/commands.txt, priority: 2}")
    config = load(tmp_path / "a.yaml")
    assert config.tasks.file == str(tmp_path / "sub" / "commands.txt")
    assert loads(resolved_yaml(config), directory="/elsewhere") == config


def test_defaults_hold_where_a_task_says_nothing():
    text = """
        defaults: {priority: 2, timeout_s: 9, environment: {A: b}}
        tasks: [{command: a}, {command: b, priority: 3}]
    """
    first, second = loads(text).tasks
    assert (first.priority, first.timeout_s, first.environment) == (2, 9, {"A": "b"})
    assert (second.priority, second.timeout_s) == (3, 9)
    assert loads("defaults: {priority: 2}\ntasks: {file: a.txt}").tasks.priority == 2
    assert loads("defaults: {priority: 2}\nsweep: {command: a, parameters: {x: 1}}").sweep.priority == 2


@pytest.mark.parametrize("text", [SWEEP, TASKS, "defaults: {mode: process}\ntasks: {file: x.jsonl}"])
def test_the_resolved_configuration_loads_to_an_equal_one(text):
    config = loads(text)
    resolved = resolved_yaml(config)
    assert loads(resolved) == config
    assert resolved_yaml(loads(resolved)) == resolved


def test_a_task_may_take_back_a_default():
    config = loads(
        "defaults: {timeout_s: 5, environment: {A: b}}\ntasks: [{command: a, timeout_s: null, environment: {}}]"
    )
    assert config.tasks[0].timeout_s is None
    assert loads(resolved_yaml(config)) == config


def test_the_resolved_configuration_of_a_task_is_short():
    assert "tasks:\n- id: x\n  command: a\nscheduler:" in resolved_yaml(loads("tasks: [{command: a, id: x}]"))


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(plain)
def test_any_plain_value_survives(value):
    config = RunConfig.model_validate({"tasks": [{"command": ["a"], "with": {"x": value}}]})
    again = loads(resolved_yaml(config))
    assert again == config
    assert repr(again.tasks[0].with_["x"]) == repr(value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1.", 1.0),
        ("-.5E2", -50.0),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("true", True),
        ("~", None),
        ("1.2.3", "1.2.3"),
        ("é", "é"),
    ],
)
def test_scalars_follow_yaml_1_2(written, value):
    (read,) = loads(f"sweep: {{command: a, parameters: {{x: [{written}]}}}}").sweep.parameters["x"]
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize(
    ("written", "size"),
    [("10MiB", 10 * 2**20), ("2 GB", 2 * 10**9), ("1.5kib", 1536), ("7", 7), ("0", 0), ("'12 B'", 12)],
)
def test_sizes(written, size):
    assert loads(f"tasks: [{{command: a, max_output: {written}}}]").tasks[0].max_output == size


class TestOverrides:
    def test_they_replace_and_add(self):
        overrides = ["sweep.timeout_s=5", "sweep.parameters.T=[1, 2]", "workers.slots=3", "sweep.exclude=[]"]
        config = loads(SWEEP, overrides)
        assert config.sweep.timeout_s == 5
        assert config.sweep.parameters["T"] == [1, 2]
        assert config.workers.slots == 3

    def test_the_last_one_wins_and_values_may_hold_equal_signs(self):
        assert loads(TASKS, ["tasks.1.args=[1]", "tasks.1.args=['a=b']"]).tasks[1].args == ["a=b"]

    def test_a_kind_of_work_can_be_exchanged(self):
        assert loads(SWEEP, ["sweep=null", "tasks=[{command: a}]"]).sweep is None

    def test_only_one_use_of_an_alias_changes(self):
        text = "tasks: [&one {command: a, priority: 1}, *one, {<<: *one, command: b}]"
        assert [task.priority for task in loads(text, ["tasks.0.priority=9"]).tasks] == [9, 1, 1]

    @pytest.mark.parametrize(
        ("override", "problem"),
        [
            ("seed", "--set seed: must read key.path=value"),
            ("a..b=1", "--set a..b=1: must read key.path=value"),
            ("seed.x=1", "--set seed.x=1: seed is 7 and has no 'x' in it"),
            (
                "tasks.9.priority=1",
                "--set tasks.9.priority=1: tasks is a list of 1: '9' must be an index from 0 on",
            ),
            (
                "tasks.x.priority=1",
                "--set tasks.x.priority=1: tasks is a list of 1: 'x' must be an index from 0 on",
            ),
            ("seed=x", "--set seed=x: seed: must be a whole number, not 'x'"),
            ("tasks.0.prio=1", "--set tasks.0.prio=1: tasks.0.prio: unknown key. Did you mean priority?"),
            (
                "heartbeat.timeout_s=6",
                (
                    "--set heartbeat.timeout_s=6: heartbeat: timeout_s (6) must be at least three times interval_s (5), "
                    "or one late heartbeat loses a worker"
                ),
            ),
        ],
    )
    def test_faults(self, override, problem):
        assert problems("seed: 7\ntasks: [{command: a}]", [override]) == [problem]

    def test_a_value_that_is_no_yaml(self):
        (problem,) = problems(TASKS, ["seed=[1"])
        assert problem.startswith("--set seed=[1: the value is no valid YAML: ")


class TestFiles:
    def test_unreadable(self, tmp_path):
        with pytest.raises(ConfigError, match=r"none.yaml: cannot be read: No such file or directory"):
            load(tmp_path / "none.yaml")
        with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
            load(tmp_path)
        (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
        with pytest.raises(ConfigError, match=r"latin.yaml: is no UTF-8 text \(byte 9\)"):
            load(tmp_path / "latin.yaml")

    @pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n"])
    def test_empty(self, text):
        told = "the file is empty. Say what to run, under tasks, sweep or workflow"
        assert problems(text)[0] in (
            f"a.yaml: {told}",
            "a.yaml:1: must be a mapping of keys to values (key: value)",
        )

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("- a", "a.yaml:1: must be a mapping of keys to values (key: value)"),
            ("hello", "a.yaml:1: must be a mapping of keys to values (key: value)"),
            ("seed: 1\nrun: {}\nseed: 2", "a.yaml:3: seed: is there twice, first in line 1. Remove one"),
            ("run: {dir: a,\n  dir: b}", "a.yaml:2: run.dir: is there twice, first in line 1. Remove one"),
            ("1: a", "a.yaml:1: the file: the key 1 must be text. Put it in quotes"),
            ("run: {[a]: b}", "a.yaml:1: run: a key must be text. Put it in quotes"),
            (
                "name: !!python/object:os.system x",
                "a.yaml:1: name: the tag !!python/object:os.system is not allowed: only plain data is read",
            ),
            ("tasks:\n- !mine 1", "a.yaml:2: tasks.0: the tag !mine is not allowed: only plain data is read"),
            ("a: !!binary aGk=", "a.yaml:1: a: the tag !!binary is not allowed: only plain data is read"),
            ("a: &x [1, *x]", "a.yaml:1: a.1: contains itself through an alias. Write it out"),
            (
                "a: !!int b",
                "a.yaml: a value does not fit its tag: invalid literal for int() with base 10: 'b'",
            ),
        ],
    )
    def test_yaml_that_is_no_configuration(self, text, problem):
        assert problems(text) == [problem]

    def test_syntax_has_line_and_column(self):
        (problem,) = problems("name: a\nsweep: [1, 2\nrun: {}")
        assert problem.startswith("a.yaml:3:")
        assert "is no valid YAML" in problem
        (problem,) = problems("name: a\n\tb: c")
        assert problem.startswith("a.yaml:2:1: is no valid YAML")
        (problem,) = problems("a: 1\n---\nb: 2")
        assert problem.startswith("a.yaml:2:1: is no valid YAML")

    def test_all_duplicates_at_once(self):
        assert len(problems("a: 1\na: 2\nb: {c: 1, c: 2}")) == 2


def one(key_value):
    """Return a sweep with something in it, in line 4."""
    return f"sweep:\n  command: 'a {{T}}'\n  parameters: {{T: [1, 2]}}\n  {key_value}\n"


def parameter(written):
    """Return a sweep whose parameter T, in line 4, is written so."""
    return f"sweep:\n  command: 'a {{T}}'\n  parameters:\n    T: {written}\n"


def task(written):
    """Return a list of one task, in line 2."""
    return f"tasks:\n  - {written}\n"


BAD = [
    # What to do
    ("seed: 1", "a.yaml:1: the configuration says nothing to do. Give one of tasks, sweep, workflow"),
    ("tasks: [{command: a}]\nsweep: {command: a, parameters: {x: 1}}", "a.yaml:2: sweep: give only one of tasks and sweep"),
    ("federated: {}", "a.yaml:1: federated: this version has no such kind of work. It knows tasks, sweep, workflow"),
    ("swep: {}", "a.yaml:1: swep: unknown key. Did you mean sweep?"),
    (
        "xyzzy: {}",
        "a.yaml:1: xyzzy: unknown key. The keys here are name, seed, defaults, tools, tasks, sweep, workflow, scheduler, workers, heartbeat, checkpoint, limits, run",
    ),
    # Types and limits
    ("seed: -1\ntasks: [{command: a}]", "a.yaml:1: seed: must be at least 0, not -1"),
    ("seed: 1.5\ntasks: [{command: a}]", "a.yaml:1: seed: must be a whole number, not 1.5"),
    ("name: a/b\ntasks: [{command: a}]", "a.yaml:1: name: 'a/b' is no usable name: 1 to 100 of the characters A-Z a-z 0-9 . _ - (it may become part of a path), and no dot first"),
    ("run: 5\ntasks: [{command: a}]", "a.yaml:1: run: must be a mapping of keys to values, not 5"),
    ("run: {dirs: a}\ntasks: [{command: a}]", "a.yaml:1: run.dirs: unknown key. Did you mean dir?"),
    ("run: {task_dirs: 7}\ntasks: [{command: a}]", "a.yaml:1: run.task_dirs: must be true or false, not 7"),
    ("run: {dir: 7}\ntasks: [{command: a}]", "a.yaml:1: run.dir: must be text, not 7"),
    ("workers: {hub_works: maybe}\ntasks: [{command: a}]", "a.yaml:1: workers.hub_works: must be auto, true or false, not 'maybe'"),
    ("defaults: {priority: 0}\ntasks: [{command: a}]", "a.yaml:1: defaults.priority: must be at least 1, not 0"),
    ("defaults: {command: x}\ntasks: [{command: a}]", "a.yaml:1: defaults.command: unknown key. The keys here are priority, resources, duration_s, timeout_s, timeout_factor, retries, speculate, labels, site, mode, environment, max_output"),
    # Tasks
    ("tasks: 5", "a.yaml:1: tasks: must be a list of tasks or a mapping with file, not 5"),
    ("tasks: []", "a.yaml:1: tasks: is empty. It needs at least one"),
    (task("5"), "a.yaml:2: tasks.0: must be a mapping of keys to values, not 5"),
    (task("{}"), "a.yaml:2: tasks.0: says nothing to run. Give command or call"),
    (task("{command: a, call: 'b:c'}"), "a.yaml:2: tasks.0.call: give command or call, not both"),
    (task("{command: a, priority: 11}"), "a.yaml:2: tasks.0.priority: must be at most 10, not 11"),
    (task("{command: a, priority: true}"), "a.yaml:2: tasks.0.priority: must be a whole number, not true"),
    (task("{command: a, timeout_s: 0}"), "a.yaml:2: tasks.0.timeout_s: must be above 0, not 0"),
    (task("{command: a, timeout_s: .inf}"), "a.yaml:2: tasks.0.timeout_s: must be a finite number, not inf"),
    (task("{command: a, timeout_s: 10 min}"), "a.yaml:2: tasks.0.timeout_s: must be a number, not '10 min'"),
    (task("{command: a, retries: 3}"), "a.yaml:2: tasks.0.retries: must be a mapping of keys to values, not 3"),
    (task("{command: a, retries: {max: -1}}"), "a.yaml:2: tasks.0.retries.max: must be at least 0, not -1"),
    (task("{command: a, mode: inlne}"), "a.yaml:2: tasks.0.mode: must be auto, inline, thread, process, asyncio or command, not 'inlne'. Did you mean inline?"),
    (task("{command: a, mode: inline}"), "a.yaml:2: tasks.0.mode: inline is for calls. Write auto or command, or leave it out, for a command"),
    (task("{call: 'a:b', mode: command}"), "a.yaml:2: tasks.0.mode: command is for commands. Write auto, inline, thread, process or asyncio for a call"),
    (task("{call: 'a:b', mode: inline, timeout_s: 5}"), "a.yaml:2: tasks.0.mode: an inline task cannot be ended after timeout_s. Write process, or leave mode out"),
    (task("{command: a, max_output: 3 foos}"), "a.yaml:2: tasks.0.max_output: must be a size such as 10MiB, 2 GB or a number of bytes, not '3 foos'"),
    (task("{command: a, max_output: -1}"), "a.yaml:2: tasks.0.max_output: must be a size such as 10MiB, 2 GB or a number of bytes, not -1"),
    (task("{command: a, environment: {A: true}}"), "a.yaml:2: tasks.0.environment.A: must be text, not true. Put it in quotes"),
    (task("{command: a, environment: {A=B: x}}"), "a.yaml:2: tasks.0.environment.A=B: 'A=B' is no name of an environment variable"),
    (task("{command: a, environment: {MPIEXEC_RUNNER_X: x}}"), "a.yaml:2: tasks.0.environment.MPIEXEC_RUNNER_X: names that begin with MPIEXEC_RUNNER_ are set by the run itself. Choose another"),
    (task("{command: ''}"), "a.yaml:2: tasks.0.command: the command is empty"),
    (task("{command: []}"), "a.yaml:2: tasks.0.command: the command is empty"),
    (task("{command: 5}"), "a.yaml:2: tasks.0.command: must be text for the shell or a list of arguments, not 5"),
    (task("{command: [a, true]}"), "a.yaml:2: tasks.0.command: an argument of a command must be text or a number, not true. Put it in quotes"),
    (task("{command: a, args: [1]}"), "a.yaml:2: tasks.0.args: belongs to a call. Write the arguments of a command into the command"),
    (task("{command: 'a {x}'}"), "a.yaml:2: tasks.0.command: field {x} is filled by no value; with gives nothing. A brace of the command itself is doubled: {{x}}"),
    (task("{command: 'a {temp}', with: {Temp: 1}}"), "a.yaml:2: tasks.0.command: field {temp} is filled by no value; with gives Temp. Did you mean Temp?"),
    (task("{command: 'a {}'}"), "a.yaml:2: tasks.0.command: {} is no field: a field needs a name. Braces that stand for themselves are doubled: {{ and }}"),
    (task("{command: a, with: {x-y: 1}}"), "a.yaml:2: tasks.0.with.x-y: 'x-y' cannot name a value: use letters, digits and underscores, no digit first"),
    (task("{command: a, with: {x: 18446744073709551616}}"), "a.yaml:2: tasks.0.with.x: 18446744073709551616 is too large: whole numbers have at most 64 bits. Quote it to pass it as text"),
    (task("{call: math}"), "a.yaml:2: tasks.0.call: must name a function as package.module:function, not 'math'"),
    (task("{call: 'a-b:c'}"), "a.yaml:2: tasks.0.call: must name a function as package.module:function, not 'a-b:c'"),
    (task("{command: a, id: task_0001}"), "a.yaml:2: tasks.0.id: 'task_0001' looks like the name of a task without one. Choose another"),
    (task("{command: a, id: .x}"), "a.yaml:2: tasks.0.id: '.x' is no usable name: 1 to 100 of the characters A-Z a-z 0-9 . _ - (it may become part of a path), and no dot first"),
    (task("{command: a, id: x}\n  - {command: b, id: x}"), "a.yaml:3: tasks.1.id: 'x' is already the id of tasks.0. Each id names one task"),
    ("tasks: {fil: a.txt}", ["a.yaml:1: tasks.file: is missing", "a.yaml:1: tasks.fil: unknown key. Did you mean file?"]),
    ("tasks: {file: /a.txt, command: b}", "a.yaml:1: tasks.file: each line of a .txt file is a command. Leave out command and call beside it"),
    ("tasks: {file: /a.txt, mode: inline}", "a.yaml:1: tasks.mode: inline is for calls. Write auto or command, or leave it out, for a command"),
    ("tasks: {file: /a.csv}", "a.yaml:1: tasks: says nothing to run. Give command or call"),
    ("tasks: {file: /a.yaml}", "a.yaml:1: tasks.file: '/a.yaml' is of no known sort. Name it .txt, .jsonl or .csv"),
    ("tasks: {file: /a.csv, command: 'b {x.y}'}", "a.yaml:1: tasks.command: {x.y} is no field: a field is one name, without attributes or indices. Braces that stand for themselves are doubled: {{ and }}"),
    # Sweeps
    ("sweep: {command: a}", "a.yaml:1: sweep.parameters: is missing"),
    ("sweep: {command: a, parameters: {}}", "a.yaml:1: sweep.parameters: is empty. It needs at least one"),
    ("sweep: {parameters: {x: 1}}", "a.yaml:1: sweep: says nothing to run. Give command or call"),
    ("sweep:\n  command: 'a {seeed}'\n  parameters: {T: 1, seed: 2}", "a.yaml:2: sweep.command: field {seeed} is filled by no parameter; parameters are T, seed. Did you mean seed?"),
    (one("combine: zap"), "a.yaml:4: sweep.combine: must be product or zip, not 'zap'. Did you mean zip?"),
    (one("samples: 5"), "a.yaml:4: sweep.samples: is for lhs and sobol parameters, and there are none. Remove it"),
    (one("samples: 0"), "a.yaml:4: sweep.samples: must be at least 1, not 0"),
    (one("exclude: T > 1"), "a.yaml:4: sweep.exclude: must be a list, not 'T > 1'"),
    (one("exclude: [T > 1, t > 1]"), "a.yaml:4: sweep.exclude.1: 't > 1' uses t, which is no parameter; parameters are T. Did you mean T?"),
    (one("include: [T =]"), "a.yaml:4: sweep.include.0: 'T =' cannot be read (invalid syntax). Write conditions as in 'T > 1.2 and seed == 3', with == != < <= > >= in and or not"),
    (one("include: [T.real]"), "a.yaml:4: sweep.include.0: 'T.real': 'T.real' is not allowed in a condition"),
    (one("resurces: {cpus: 1}"), "a.yaml:4: sweep.resurces: unknown key. Did you mean resources?"),
    (parameter("[]"), "a.yaml:4: sweep.parameters.T: is empty. It needs at least one"),
    (parameter("{}"), "a.yaml:4: sweep.parameters.T: an empty mapping gives no values. Give a list, one value, or one of range, linspace, logspace, uniform, normal, loguniform, integers, choice, lhs, sobol"),
    (parameter("{linspce: [0, 1, 3]}"), "a.yaml:4: sweep.parameters.T: linspce is no way to give values. Did you mean linspace?"),
    (parameter("{xyzzy: 1}"), "a.yaml:4: sweep.parameters.T: xyzzy is no way to give values. Give a list, one value, or one of range, linspace, logspace, uniform, normal, loguniform, integers, choice, lhs, sobol"),
    (parameter("{range: [5]}"), "a.yaml:4: sweep.parameters.T.range: must be [start, stop, step] (the last may be left out), for instance [0, 10, 2], not [5]"),
    (parameter("{range: [0, 5, 0]}"), "a.yaml:4: sweep.parameters.T.range: the step must not be 0"),
    (parameter("{range: [5, 0]}"), "a.yaml:4: sweep.parameters.T: has no values, so that nothing would be run"),
    (parameter("{range: [0, 1e12]}"), "a.yaml:3: sweep.parameters: stand for 1,000,000,000,000 points. One run takes at most 10,000,000"),
    (parameter("{linspace: [0, 1]}"), "a.yaml:4: sweep.parameters.T.linspace: must be [first, last, count], for instance [0.7, 1.3, 7], not [0, 1]"),
    (parameter("{linspace: [0, a, 3]}"), "a.yaml:4: sweep.parameters.T.linspace: last must be a number, not 'a'"),
    (parameter("{linspace: [0, 1, 2.5]}"), "a.yaml:4: sweep.parameters.T.linspace: count must be a whole number, not 2.5"),
    (parameter("{linspace: [0, 1, 0]}"), "a.yaml:4: sweep.parameters.T.linspace: count says how many values there are: 1 to 10,000,000, not 0"),
    (parameter("{linspace: [0, .nan, 3]}"), "a.yaml:4: sweep.parameters.T.linspace: last must be finite, not nan"),
    (parameter("{logspace: [0, 1, 3]}"), "a.yaml:4: sweep.parameters.T.logspace: first must be above 0, not 0: the scale is logarithmic"),
    (parameter("{uniform: [0, 1]}"), "a.yaml:4: sweep.parameters.T.n: is missing"),
    (parameter("{uniform: [0, 1], n: 0}"), "a.yaml:4: sweep.parameters.T.n: must be at least 1, not 0"),
    (parameter("{uniform: [0, 1], n: 2, m: 3}"), "a.yaml:4: sweep.parameters.T.m: unknown key. The keys here are uniform, n"),
    (parameter("{uniform: [1, 0], n: 2}"), "a.yaml:4: sweep.parameters.T.uniform: the first number must be below the second, not [1, 0]"),
    (parameter("{normal: [0, -1], n: 2}"), "a.yaml:4: sweep.parameters.T.normal: the standard deviation must not be negative, not -1"),
    (parameter("{loguniform: [-1, 1], n: 2}"), "a.yaml:4: sweep.parameters.T.loguniform: low must be above 0, not -1: the scale is logarithmic"),
    (parameter("{integers: [0, 1.5], n: 2}"), "a.yaml:4: sweep.parameters.T.integers: high must be a whole number, not 1.5"),
    (parameter("{choice: [], n: 2}"), "a.yaml:4: sweep.parameters.T.choice: is empty. It needs at least one"),
    (parameter("{lhs: [0, 1]}"), "a.yaml:1: sweep.samples: is missing: it says how many points T have (lhs, sobol)"),
    ("sweep:\n  command: a\n  parameters: {x: [1, 2], y: [1, 2, 3], z: 1}\n  combine: zip", "a.yaml:4: sweep.combine: zip needs parameters of equal length (or of one value); x has 2, y has 3"),
    ("sweep:\n  command: a\n  parameters: {my-T: 1}", "a.yaml:3: sweep.parameters.my-T: 'my-T' cannot name a value: use letters, digits and underscores, no digit first"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_bad_input(text, expected):
    assert problems(text) == ([expected] if isinstance(expected, str) else expected)


def test_all_faults_come_at_once_in_the_order_of_the_file():
    found = problems(
        """
        nam: x
        seed: a
        tasks:
          - {command: "a {x}", wiht: {x: 1}}
          - {command: "a {xx}", with: {xy: 1}}
        heartbeat: {interval_s: 5, timeout_s: 6}
        """,
        ["workers.slots=0"],
    )
    assert [problem.split(": ")[1] for problem in found] == [
        "workers.slots", "nam", "seed", "tasks.0.wiht", "tasks.1.command", "heartbeat",
    ]  # fmt: skip
    assert [problem.split(": ")[0] for problem in found] == [
        "--set workers.slots=0", "a.yaml:2", "a.yaml:3", "a.yaml:5", "a.yaml:6", "a.yaml:7",
    ]  # fmt: skip


def test_no_message_speaks_of_the_inside():
    for text, _ in BAD:
        for problem in problems(text):
            assert not any(
                word in problem for word in ("Input should", "pydantic", "type=", "None", "<class")
            )


def test_modes_are_members_of_the_enumeration():
    assert loads("tasks: [{call: 'a:b', mode: process}]").tasks[0].mode is Mode.PROCESS
