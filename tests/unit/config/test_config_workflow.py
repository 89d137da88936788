"""Workflows: which tasks their jobs become, what waits for what, and what is said about wrong ones."""

# ruff: noqa: E501 - messages are easier to read in one line

import contextlib
import textwrap

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiexec_runner.config import instances
from mpiexec_runner.config.callables import check_callables
from mpiexec_runner.config.dialect import dump
from mpiexec_runner.config.expansion import expand
from mpiexec_runner.config.graph import in_order
from mpiexec_runner.config.loading import loads, resolved_yaml
from mpiexec_runner.errors import ConfigError
from mpiexec_runner.execute.bindings import Found, bind
from mpiexec_runner.execute.template import render
from mpiexec_runner.model.tasks import CallByName, CommandLine, PlainArguments, When


def expanded(text, first_id=1):
    return expand(loads(textwrap.dedent(text)), first_id=first_id)


def named(text):
    return {task.name: task for task in expanded(text).tasks}


def arguments(task):
    return msgspec.msgpack.decode(task.payload, type=PlainArguments)


def after(text):
    """Return the names of the tasks that each task waits for."""
    tasks = expanded(text).tasks
    names = {task.id: task.name for task in tasks}
    return {task.name: [names[id_] for id_ in task.after] for task in tasks}


def uses(text):
    tasks = expanded(text).tasks
    names = {task.id: task.name for task in tasks}
    return {task.name: [names[id_] for id_ in task.uses] for task in tasks}


def problems(text):
    with pytest.raises(ConfigError) as caught:
        expand(loads(textwrap.dedent(text), source="a.yaml"))
    return caught.value.problems


CHAIN = """
    workflow:
      report: {command: r, depends_on: solve, when: any}
      solve: {call: "m:f", depends_on: [mesh], priority: 9}
      mesh: {command: "a {h}", with: {h: 1}}
"""


class TestOrder:
    def test_tasks_come_after_what_they_depend_on(self):
        workload = expanded(CHAIN, first_id=5)
        assert [(task.id, task.name, task.after, task.when) for task in workload.tasks] == [
            (5, "mesh", (), When.SUCCESS),
            (6, "solve", (5,), When.SUCCESS),
            (7, "report", (6,), When.ANY),
        ]
        assert [task.uses for task in workload.tasks] == [(), (), ()]

    def test_each_job_is_a_kind(self):
        kinds = expanded(CHAIN).kinds
        assert [(kind.id, kind.name, kind.work, kind.priority) for kind in kinds] == [
            (1, "mesh", CommandLine("a {h}"), 5),
            (2, "solve", CallByName("m:f"), 9),
            (3, "report", CommandLine("r"), 5),
        ]

    def test_jobs_that_do_not_depend_on_each_other_keep_their_order(self):
        text = "workflow: {c: {command: a}, b: {command: a, depends_on: d}, a: {command: a}, d: {command: a}}"
        assert list(after(text)) == ["c", "a", "d", "b"]

    def test_stages(self):
        text = """
            workflow:
              stages: [one, two, three, four]
              last: {command: a, stage: four}
              a: {command: a, stage: one, for_each: {x: [1, 2]}}
              b: {command: a, stage: one}
              c: {command: a, stage: two, depends_on: free}
              free: {command: a}
        """
        found = after(text)
        assert found["c"] == ["a-0001", "a-0002", "b", "free"]
        assert found["last"] == ["c"]  # no job is in stage three
        assert found["free"] == []

    def test_a_stage_is_waited_for_as_a_whole(self):
        text = """
            workflow:
              stages: [one, two]
              a: {command: a, stage: one, for_each: {x: [1, 2]}}
              b: {command: "b {{ a.dir }}", stage: two}
        """
        assert after(text)["b-0001"] == ["a-0001", "a-0002"]
        assert uses(text)["b-0001"] == ["a-0001"]

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_any_graph_without_cycles_gets_ids_in_its_order(self, data):
        count = data.draw(st.integers(1, 12))
        edges = {at: data.draw(st.sets(st.integers(0, at - 1))) if at else set() for at in range(count)}
        order = data.draw(st.permutations(range(count)))
        written = {f"j{at}x": {"command": "a", "depends_on": [f"j{to}x" for to in edges[at]]} for at in order}
        tasks = expand(loads(dump({"workflow": written}))).tasks
        numbers = {task.name: task.id for task in tasks}
        assert sorted(numbers) == sorted(written)
        for task in tasks:
            at = int(task.name[1:-1])
            assert task.after == tuple(sorted(numbers[f"j{to}x"] for to in edges[at]))
            assert all(id_ < task.id for id_ in task.after)

    @given(st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, 9)), max_size=10))
    @settings(max_examples=200)
    def test_cycles_are_real_and_all_others_are_in_order(self, graph):
        order, cycles = in_order({str(name): {str(other) for other in graph[name]} for name in graph})
        for cycle in cycles:
            for one, next_ in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
                assert int(next_) in graph[int(one)]
        places = {name: at for at, name in enumerate(order)}
        for name in order:
            for other in graph[int(name)] & graph.keys():
                assert places[str(other)] < places[name]
        # What is left out is on a cycle, or leads to one.
        assert bool(cycles) == (len(order) < len(graph))
        assert len({name for cycle in cycles for name in cycle}) == sum(map(len, cycles))

    def test_a_long_chain_is_no_matter(self):
        count = 3000
        graph = {str(at): [str(at + 1)] for at in range(count)}
        assert in_order(graph) == ([str(at) for at in reversed(range(count))], [])
        assert len(in_order({**graph, str(count): ["0"]})[1][0]) == count + 1


class TestFanOut:
    def test_for_each(self):
        tasks = expanded(
            "workflow: {a: {command: 'x {h} {T}', for_each: {h: [1, 2], T: {range: [0, 2]}}}}"
        ).tasks
        assert [task.name for task in tasks] == ["a-0001", "a-0002", "a-0003", "a-0004"]
        assert [arguments(task).fields for task in tasks] == [
            {"h": 1, "T": 0},
            {"h": 1, "T": 1},
            {"h": 2, "T": 0},
            {"h": 2, "T": 1},
        ]

    def test_zip_samples_and_duplicates(self):
        text = "workflow: {a: {command: 'x', combine: zip, for_each: {h: [1, 2, 1], T: [3, 4, 3]}}}"
        workload = expanded(text)
        assert (len(workload.tasks), workload.duplicates) == (2, 1)
        text = "workflow: {a: {command: 'x', for_each: {h: {lhs: [0, 1]}}, samples: 3}}"
        assert len(expanded(text).tasks) == 3

    def test_one_value_is_a_fan_out_too(self):
        assert list(named("workflow: {a: {command: 'x', for_each: {h: 1}}}")) == ["a-0001"]

    def test_who_only_depends_runs_once_after_all(self):
        text = "workflow: {a: {command: x, for_each: {h: [1, 2]}}, b: {command: y, depends_on: a}}"
        assert after(text)["b"] == ["a-0001", "a-0002"]
        assert uses(text)["b"] == []

    def test_who_refers_to_all_runs_once_after_all(self):
        text = (
            "workflow: {a: {command: x, for_each: {h: [1, 2]}}, b: {call: 'm:f', args: ['{{ a.all.dir }}']}}"
        )
        assert after(text)["b"] == uses(text)["b"] == ["a-0001", "a-0002"]
        assert arguments(named(text)["b"]).args == ("{{ a.all.dir }}",)

    def test_who_refers_to_one_value_runs_once_for_each(self):
        text = """
            workflow:
              mesh: {command: x, for_each: {h: [1, 2]}}
              solve: {command: "s {h} {T} {m}", depends_on: mesh, with: {m: "{{ mesh.dir }}/m"}, for_each: {T: [5, 6]}}
        """
        assert after(text)["solve-0003"] == ["mesh-0002"]
        assert uses(text)["solve-0003"] == ["mesh-0002"]
        assert [arguments(task).fields for name, task in named(text).items() if "solve" in name] == [
            {"h": 1, "T": 5, "m": "{{ mesh-0001.dir }}/m"},
            {"h": 1, "T": 6, "m": "{{ mesh-0001.dir }}/m"},
            {"h": 2, "T": 5, "m": "{{ mesh-0002.dir }}/m"},
            {"h": 2, "T": 6, "m": "{{ mesh-0002.dir }}/m"},
        ]

    def test_a_function_gets_its_own_parameters_only(self):
        text = """
            workflow:
              mesh: {command: x, for_each: {h: [1]}}
              solve: {call: "m:f", with: {m: "{{ mesh.dir }}"}, for_each: {T: [5]}}
        """
        assert arguments(named(text)["solve-0001"]).fields == {"T": 5, "m": "{{ mesh-0001.dir }}"}

    def test_instances_go_together_by_the_parameters_that_they_share(self):
        text = """
            workflow:
              mesh: {command: x, for_each: {h: [1, 2]}}
              material: {command: x, for_each: {E: [7]}}
              solve: {command: "s {{ mesh.dir }} {{ material.dir }}", for_each: {T: [5, 6]}}
              post: {command: "p {{ solve.dir }} {{ mesh.dir }} {{ material.all.dir }}"}
        """
        found = uses(text)
        assert [found[f"solve-000{n}"] for n in (1, 2, 3, 4)] == [
            ["mesh-0001", "material-0001"],
            ["mesh-0001", "material-0001"],
            ["mesh-0002", "material-0001"],
            ["mesh-0002", "material-0001"],
        ]
        assert [found[f"post-000{n}"] for n in (1, 2, 3, 4)] == [
            ["mesh-0001", "material-0001", "solve-0001"],
            ["mesh-0001", "material-0001", "solve-0002"],
            ["mesh-0002", "material-0001", "solve-0003"],
            ["mesh-0002", "material-0001", "solve-0004"],
        ]

    def test_own_values_of_a_shared_parameter_choose_among_the_instances(self):
        text = """
            workflow:
              mesh: {command: x, for_each: {h: [1, 2, 3]}}
              solve: {command: "s {{ mesh.dir }}", for_each: {h: [3, 1]}}
        """
        assert uses(text)["solve-0001"] == ["mesh-0001"]
        assert uses(text)["solve-0002"] == ["mesh-0003"]

    def test_no_instance_is_an_error(self):
        text = """
            workflow:
              mesh: {command: x, for_each: {h: [1, 2, 3]}}
              solve: {command: "s {{ mesh.dir }}", for_each: {h: [4]}}
        """
        told = "workflow.solve: nothing to run: no instances of mesh and for_each have the same values of the parameters that they share"
        assert problems(text) == [told]

    def test_far_too_many_dependencies_are_refused(self, monkeypatch):
        monkeypatch.setattr(instances, "MOST_EDGES", 99)
        text = """
            workflow:
              a: {command: x, for_each: {h: {range: [0, 10]}}}
              b: {command: x, for_each: {h: {range: [0, 10]}}, depends_on: a}
        """
        told = "workflow.b: its 10 instances wait for 10 tasks each, and a workflow has at most 99 such links. Put a job without for_each between, which waits for all of them, and let this one depend on that"
        assert problems(text) == [told]

    def test_a_site_is_filled_in(self):
        text = """
            workflow:
              mesh: {command: x, for_each: {h: [1, 2]}, site: "mesh {h}"}
              solve: {call: "m:f", args: ["{{ mesh.dir }}"], site: "mesh {h}"}
              post: {command: x, depends_on: solve}
        """
        assert [task.site for task in expanded(text).tasks] == ["mesh 1", "mesh 2", "mesh 1", "mesh 2", ""]


class TestReferencesInCommands:
    @staticmethod
    def argv(command, *results):
        text = dump({"workflow": {"a": {"command": "x"}, "b": {"command": command}}})
        workload = expand(loads(text))
        found = bind(arguments(workload.tasks[1]), results)
        return render(workload.kinds[1].work.template, found.fields)

    RESULTS = (Found("a", "succeeded", "/my runs/a", {"e": 1.25, "files": ["p q", "r"]}),)

    @pytest.mark.parametrize(
        ("command", "expected"),
        [
            ("cat {{ a.dir }}/x", "cat '/my runs/a'/x"),
            ('cat "{{a.dir}}/x"', 'cat "/my runs/a/x"'),
            ("cat {{ a.all.dir }}", "cat '/my runs/a'"),
            ("echo {{ a.result.e }} {{ a.result.e }}", "echo 1.25 1.25"),
            ("awk '{{ print $1 }}' {{ a.dir }}", "awk '{ print $1 }' '/my runs/a'"),
            ("echo {{{{ a.dir }}}} {{ x.y }}", "echo {{ a.dir }} { x.y }"),
            (["ls", "{{ a.dir }}/x"], ["ls", "/my runs/a/x"]),
        ],
    )
    def test_values_are_quoted_for_their_place(self, command, expected):
        argv = self.argv(command, *self.RESULTS)
        assert argv == (["/bin/sh", "-c", expected] if isinstance(expected, str) else expected)

    def test_a_list_becomes_words(self):
        text = """
            workflow:
              a: {command: x, for_each: {h: [1, 2]}}
              b: {command: "cat {{ a.all.dir }}"}
              c: {command: [cat, "{{ a.all.dir }}"]}
        """
        workload = expanded(text)
        results = [Found("a-0001", "succeeded", "/my a", None), Found("a-0002", "succeeded", "/b", None)]
        b, c = (bind(arguments(workload.tasks[at]), results).fields for at in (2, 3))
        assert render(workload.kinds[1].work.template, b)[2] == "cat '/my a' /b"
        assert render(workload.kinds[2].work.template, c) == ["cat", "/my a", "/b"]

    def test_their_fields_are_columns_of_their_own(self):
        text = """
            workflow:
              a: {command: x}
              b: {command: "{a_dir} {{ a.dir }} {{ a.result.x.0 }}", with: {a_dir: mine}}
        """
        assert arguments(named(text)["b"]).fields == {
            "a_dir": "mine",
            "a_dir_": "{{ a.dir }}",
            "a_result_x_0": "{{ a.result.x.0 }}",
        }


class TestDigests:
    BASE = "workflow: {a: {command: x}, b: {command: y, depends_on: a}, c: {command: z, depends_on: b}, d: {command: x}}"

    @staticmethod
    def changed(text, base=BASE):
        before, now = named(base), named(text)
        return {name for name in now if name not in before or before[name].digest != now[name].digest}

    @pytest.mark.parametrize(
        ("old", "new", "changed"),
        [
            ("command: y,", "command: y, priority: 9, resources: {cpus: 3}, labels: [l], site: s,", set()),
            ("command: y,", "command: y, timeout_factor: 3, duration_s: 5, speculate: false,", set()),
            ("command: y,", "command: y, retries: {max: 3, on: {timeout: {max: 0}}},", set()),
            ("command: y", "command: Y", {"b", "c"}),
            ("a: {command: x}", "a: {command: X}", {"a", "b", "c"}),
            ("depends_on: b", "depends_on: [b, d]", {"c"}),
            ("depends_on: b", "depends_on: b, when: any", {"c"}),
        ],
    )
    def test_what_follows_from_a_change_is_another_task(self, old, new, changed):
        assert old in self.BASE
        assert self.changed(self.BASE.replace(old, new)) == changed

    def test_the_order_of_the_jobs_does_not_matter(self):
        text = "workflow: {d: {command: x}, c: {command: z, depends_on: b}, b: {command: y, depends_on: a}, a: {command: x}}"
        assert self.changed(text) == set()

    def test_only_what_refers_to_a_changed_instance_changes(self):
        text = "workflow: {a: {command: x, for_each: {h: [1, %d]}}, b: {command: 'y {{ a.dir }}'}, c: {command: y, depends_on: a}}"
        assert self.changed(text % 3, text % 2) == {"a-0002", "b-0002", "c"}

    def test_an_added_instance_changes_no_other(self):
        text = "workflow: {a: {command: x, for_each: {h: %s}}, b: {command: 'y {{ a.dir }}'}}"
        assert self.changed(text % "[1, 2]", text % "[1]") == {"a-0002", "b-0002"}


def flow(written):
    """Return a workflow with a job in line 3."""
    return f"workflow:\n  mesh: {{command: x, for_each: {{h: [1, 2]}}}}\n  solve: {{{written}}}\n"


BAD = [
    ("workflow: {}", "a.yaml:1: workflow: has no job"),
    ("workflow: {stages: [a]}", "a.yaml:1: workflow: has no job"),
    ("workflow: [a]", "a.yaml:1: workflow: must be a mapping of keys to values, not a list"),
    ("workflow: {a: 5}", "a.yaml:1: workflow.a: must be a mapping of keys to values, not 5"),
    ("workflow: {a: [b]}", "a.yaml:1: workflow.a: must be a job: a mapping of keys to values. Only stages is a list"),
    ("workflow: {stages: {command: x}}", "a.yaml:1: workflow.stages: must be a list of names"),
    ("workflow: {stages: [a, a], b: {command: x}}", "a.yaml:1: workflow.stages: 'a' is there twice"),
    ("workflow: {a-1: {command: x}}", "a.yaml:1: workflow.a-1: 'a-1' cannot name a job: use 1 to 90 letters, digits, _ and -, a letter first; no -1 or the like at the end (instances are numbered so), nor task_1"),
    (flow("comand: x"), "a.yaml:3: workflow.solve.comand: unknown key. Did you mean command?"),
    (flow("depends_on: mesh"), "a.yaml:3: workflow.solve: says nothing to run. Give command or call"),
    (flow("command: x, depends_on: [mesh, msh]"), "a.yaml:3: workflow.solve.depends_on.1: there is no job 'msh'. Jobs are mesh, solve. Did you mean mesh?"),
    (flow("command: x, depends_on: 5"), "a.yaml:3: workflow.solve.depends_on: must be a list, not 5"),
    (flow("command: x, when: always"), "a.yaml:3: workflow.solve.when: must be success, any or failure, not 'always'"),
    (flow("command: x, stage: two"), "a.yaml:3: workflow.solve.stage: there is no stage 'two'. List the stages of the workflow under stages."),
    (flow("command: x, for_each: {h: []}"), "a.yaml:3: workflow.solve.for_each.h: is empty. It needs at least one"),
    (flow("command: x, for_each: {h: {range: [3, 0]}}"), "a.yaml:3: workflow.solve.for_each.h: has no values, so that nothing would be run"),
    (flow("command: x, for_each: {h: 1}, with: {h: 1}"), "a.yaml:3: workflow.solve.with.h: is a parameter of for_each too. Remove one"),
    (flow("command: x, samples: 5"), "a.yaml:3: workflow.solve.samples: is for lhs and sobol parameters, and there are none. Remove it"),
    (flow("command: x, args: [1]"), "a.yaml:3: workflow.solve.args: belongs to a call. Write the arguments of a command into the command"),
    (flow("command: 'x {h}'"), "a.yaml:3: workflow.solve.command: field {h} is filled by no value; with gives nothing. A brace of the command itself is doubled: {{h}}"),
    (flow("command: 'x {H} {{ mesh.dir }}'"), "a.yaml:3: workflow.solve.command: field {H} is filled by no value; with and for_each give h, mesh_dir. Did you mean h?"),
    (flow("command: x, site: '{H}'"), "a.yaml:3: workflow.solve.site: field {H} is filled by no value; with gives nothing. A brace of the command itself is doubled: {{H}}"),
    (flow("command: 'x {{ msh.dir }}'"), "a.yaml:3: workflow.solve.command: {{ msh.dir }}: there is no job 'msh'. Jobs are mesh, solve. Did you mean mesh?"),
    (flow("call: 'm:f', args: ['{{ mesh.path }}']"), "a.yaml:3: workflow.solve.args: mesh is a job, after which there may stand result, dir, stdout, state or all.WORD, and keys after result only: not 'path'"),
    (flow("call: 'm:f', with: {x: ['{{ mesh.dir.x }}']}"), "a.yaml:3: workflow.solve.with: mesh is a job, after which there may stand result, dir, stdout, state or all.WORD, and keys after result only: not 'dir.x'"),
    (flow("command: x, environment: {A: '{{ mesh.dir }}'}"), "a.yaml:3: workflow.solve.environment: what other jobs left can be used in with, args and command only"),
    (flow("command: x, for_each: {A: ['{{ mesh.dir }}']}"), "a.yaml:3: workflow.solve.for_each: what other jobs left can be used in with, args and command only"),
    (flow("command: x, depends_on: solve"), "a.yaml:3: workflow.solve.depends_on: the jobs wait for each other in a circle: solve -> solve. Each waits for the next; remove one link"),
    (
        "workflow:\n  a: {command: x, depends_on: b}\n  b: {command: 'x {{ c.dir }}'}\n  c: {command: x, depends_on: [d, a]}\n  d: {command: x}\n  e: {command: x, depends_on: f}\n  f: {command: x, depends_on: [e, a]}",
        [
            "a.yaml:2: workflow.a.depends_on: the jobs wait for each other in a circle: a -> b -> c -> a. Each waits for the next; remove one link",
            "a.yaml:6: workflow.e.depends_on: the jobs wait for each other in a circle: e -> f -> e. Each waits for the next; remove one link",
        ],
    ),
    (
        "workflow:\n  a: {command: x, depends_on: b}\n  c: {command: 'x {{ d.dir }}', stage: s}",
        [
            "a.yaml:2: workflow.a.depends_on.0: there is no job 'b'. Jobs are a, c.",
            "a.yaml:3: workflow.c.stage: there is no stage 's'. List the stages of the workflow under stages.",
            "a.yaml:3: workflow.c.command: {{ d.dir }}: there is no job 'd'. Jobs are a, c.",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_bad_input(text, expected):
    assert problems(text) == ([expected] if isinstance(expected, str) else expected)


def test_the_resolved_configuration_loads_to_an_equal_one():
    config = loads(
        textwrap.dedent("""
            defaults: {retries: {max: 2}, resources: {memory: 1GiB}}
            workflow:
              stages: [one, two]
              mesh: {command: "x {h}", for_each: {h: [1, 2]}, stage: one, resources: {cpus: 2}}
              solve: {call: "m:f", args: ["{{ mesh.stdout }}"], retries: {on: {memory: {memory: x2}}}, when: any}
              last: {command: y, stage: two, depends_on: solve}
        """)
    )
    resolved = resolved_yaml(config)
    assert loads(resolved) == config
    assert resolved_yaml(loads(resolved)) == resolved
    assert expand(loads(resolved)) == expand(config)


def test_what_references_in_a_command_become_is_no_parameter_of_the_user():
    text = "workflow:\n  mesh: {command: a}\n  solve: {command: 'x {h} {{ mesh.dir }}', for_each: {h: [1]}}"
    arguments = msgspec.msgpack.decode(expand(loads(text)).tasks[1].payload, type=PlainArguments)
    assert arguments == PlainArguments((), {"h": 1, "mesh_dir": "{{ mesh.dir }}"}, ("mesh_dir",))


def test_defaults_reach_jobs():
    config = loads("defaults: {priority: 2}\nworkflow: {a: {command: x}, b: {command: x, priority: 3}}")
    assert [kind.priority for kind in expand(config).kinds] == [2, 3]


def test_a_job_can_be_changed_from_the_command_line():
    text = "workflow: {a: {command: x, for_each: {h: [1, 2]}}}"
    config = loads(text, ["workflow.a.priority=9", "workflow.a.for_each.h=[3]"])
    assert expand(config).kinds[0].priority == 9
    assert len(expand(config).tasks) == 1


def test_functions_are_looked_for(tmp_path):
    text = (
        "workflow: {a: {call: 'math:sqrt', args: [1]}, b: {call: 'math:sqrrt', with: {x: '{{ a.result }}'}}}"
    )
    with pytest.raises(ConfigError) as caught:
        check_callables(loads(text), tmp_path)
    assert caught.value.problems == ["workflow.b.call: the module math has no sqrrt. Did you mean sqrt?"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(
        ["a", "b", "a-0001", "x {{ a.dir }}", "{{ b.all.result.x }}", "{{ c.dir }}", "{x}", "success", "t", "s", ""]
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["x", "a", "max", "on", "lhs", "range"]), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
some_job = st.dictionaries(
    st.sampled_from(
        [
            "command",
            "call",
            "tool",
            "script",
            "depends_on",
            "stage",
            "with",
            "args",
            "for_each",
            "retries",
            "site",
            "samples",
            "resources",
        ]
    ),
    anything,
    max_size=4,
)
sound_job = st.builds(lambda job: {"command": "x {{ a.dir }}", **job}, some_job)


@settings(max_examples=300, deadline=None)
@given(
    workflow=st.dictionaries(
        st.sampled_from(["a", "b", "c", "stages"]), some_job | sound_job | anything, max_size=4
    ),
    tools=st.dictionaries(st.sampled_from(["t", "u"]), some_job | anything, max_size=2) | anything,
)
def test_whatever_is_written_is_accepted_or_refused_in_words(workflow, tools):
    with contextlib.suppress(ConfigError):
        expand(loads(dump({"workflow": workflow, "tools": tools})))
