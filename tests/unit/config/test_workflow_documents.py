"""What the documents and examples show of workflows is accepted, and gives the tasks that they speak of."""

import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from mpiexec_runner.config.callables import check_callables
from mpiexec_runner.config.expansion import expand
from mpiexec_runner.config.loading import load, loads
from mpiexec_runner.execute.bindings import Found, bind, job_of
from mpiexec_runner.execute.calls import find
from mpiexec_runner.model.tasks import CallByName, PlainArguments

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def counted(tasks):
    return Counter(job_of(task.name) for task in tasks)


@pytest.mark.parametrize("text", EXAMPLES)
def test_each_example_of_the_page_is_a_configuration(text):
    config = loads(text)
    expand(config)
    check_callables(config, ROOT)


def test_the_page_counts_right():
    (text,) = [text for text in EXAMPLES if "solve.all.dir" in text]
    assert counted(expand(loads(text)).tasks) == {"grid": 3, "solve": 21, "plot": 21, "table": 1}


def test_results_reach_functions_as_the_page_says():
    (text,) = [text for text in EXAMPLES if "linear_regression" in text]
    found = []
    workload = expand(loads(text))
    for task in workload.tasks:
        work = workload.kinds[task.kind - 1].work
        arguments = bind(msgspec.msgpack.decode(task.payload, type=PlainArguments), found)
        if isinstance(work, CallByName):
            value = find(work.target)(*arguments.args)
            found.append(Found(task.name, "succeeded", "", value))
    assert found[1].value == pytest.approx(found[0].value.slope ** 0.5)


def test_the_example_workflow():
    tasks = expand(load(ROOT / "configs" / "workflow.yaml")).tasks
    assert counted(tasks) == {"grid": 3, "integrate": 6, "error": 6, "report": 1}
    names = {task.id: task.name for task in tasks}
    (report,) = [task for task in tasks if task.name == "report"]
    assert {job_of(names[id_]) for id_ in report.after} == {"integrate", "error"}
