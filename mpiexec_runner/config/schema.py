"""The configuration described: a JSON Schema for editors, and the reference page of the documentation.

Both are made from the models and their docstrings; nothing here says anything about a key.

``python -m mpiexec_runner.config.schema --write docs`` writes both files.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mpiexec_runner.config.job import JobEntry
from mpiexec_runner.config.models import RunConfig
from mpiexec_runner.config.parameters import GENERATORS
from mpiexec_runner.config.sections import SweepSettings, TaskEntry, TaskFile, ToolSettings
from mpiexec_runner.config.treatment import (
    FailureRetrySettings,
    ResourceSettings,
    RetrySettings,
    TaskSettings,
)
from mpiexec_runner.core.settings import HeartbeatSettings, LimitSettings, SchedulerSettings
from mpiexec_runner.model.settings import Settings
from mpiexec_runner.runtime.settings import WorkerSettings
from mpiexec_runner.storage.settings import CheckpointSettings, RunSettings

SCHEMA_FILE = "configuration.schema.json"
REFERENCE_FILE = "configuration.md"

_INTRODUCTION = """\
# Configuration reference

Made from the settings classes by `python -m mpiexec_runner.config.schema --write docs`.

A configuration is one YAML file. It is read by the rules of YAML 1.2: `1e-3` is a number, and only `true`
and `false` are booleans. Each key may be overridden on the command line with `--set key.path=value`, where
the value is YAML and the tasks of a list are counted from 0: `--set tasks.0.priority=10`. Units are in the
names of the keys; sizes are written as in `10MiB` (2^20 bytes), `2 GB` (10^9 bytes) or as a number of bytes.
Editors complete and check these files with the [JSON Schema](configuration.schema.json).
"""
_TASKS = """\
A list of tasks, each with the keys below; or a mapping with `file`.

    tasks:
      - {id: prep, command: [sh, -c, "echo {x}"], with: {x: 1}, priority: 8}
      - {call: "math:sqrt", args: [2]}
"""
_TOOLS = """\
Commands by name, with settings. A task, job or sweep names one by `tool`; what it says itself goes before
what the tool says, and that before `defaults`.

    tools:
      lammps: {command: "lmp -in {script} -var T {T}", resources: {cpus: 4}, timeout_s: 3600}
    sweep: {tool: lammps, script: in.lj, parameters: {T: [0.7, 0.8]}}
"""
_WORKFLOW = """\
A mapping from the name of each job to the job. The key `stages` is no job: it lists the names of stages, and
a job of one stage waits for all tasks of the stage before. [Workflows](workflows.md) explains it by example.

    workflow:
      mesh:   {command: "gmsh -3 part.geo -clscale {h} -o part.msh", for_each: {h: [0.1, 0.2]}}
      solve:  {call: "solver:run", with: {mesh: "{{ mesh.dir }}/part.msh"}}
      report: {command: "python plot.py {{ solve.all.result.energy }}", when: any}

The tasks of a job are named like the job; where it is fanned out, `mesh-0001` and so on, in the order of its
points.
"""
_REFERENCES = """\
### What finished jobs left

In the values of `with`, in `args` and in the command of a job:

| written | stands for |
|---|---|
| `{{ job.result }}` | what its function returned; `{{ job.result.energy.0 }}` is a part of it |
| `{{ job.dir }}` | its working directory |
| `{{ job.stdout }}` | the end of what its command wrote (64 KiB), without white space around it |
| `{{ job.state }}` | `succeeded`, `failed`, `cancelled` or `skipped` |
| `{{ job.all.dir }}` | a list over all instances of the job, likewise with the others |

A value that is such a reference and nothing else becomes what it stands for, a list or a number, say; within
other text, text is inserted. In a command, a list becomes one word for each item. Instances that did not
succeed have no result: in a list, null holds their place.

A job waits for every job that it refers to, also where `depends_on` does not name it. Refers it to a single
value of a job that is fanned out, it runs once for each of its instances, and the parameters of that instance
are fields of its command too. Refers it to several such jobs, those instances go together that have the same
values of the parameters that the jobs share. With `all`, or with `depends_on` alone, it runs once after all.

Other braces in a command mean what they do elsewhere (see below), and `{{{{ mesh.dir }}}}` stands for itself.
"""
_COMMANDS = """\
## Commands

A command that is a list is started as it is, without a shell: `{field}` in an argument becomes the value.
A command that is text is run by `/bin/sh`, and a value is quoted for the place where its field stands: as a
word of its own, inside single quotes, or inside double quotes. `echo {x}`, `echo '{x}'` and `echo "{x}"` all
print the value, whatever it contains. Inside here-documents and after them, back-quotes, `${...}`,
`$((...))` and comments only values of harmless characters (numbers, names, paths) are accepted. A value
handed on to a second shell, as in `ssh host "..."`, is quoted for the first one only.

`{T:.3f}` formats a value as Python does. A brace that stands for itself is doubled: `{{` and `}}`.
"""
_PARAMETERS = """\
## Values of parameters

A parameter of a sweep is a list of values, one value, or a mapping with one of the keys below. Random
numbers depend on `seed` and the parameter's name only: not on other parameters or on the order of keys.
"""
_CONDITIONS = """\
## Conditions

`include` and `exclude` hold expressions over the parameters, as in Python: comparisons (also `in` and
`0 < T <= 1`), `and`, `or`, `not`, `+ - * / // % **` on numbers, text, lists, `True`, `False`, `None` and the
functions `abs`, `min`, `max`, `round` and `len`. Points with the same values are run once.
"""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file."""
    schema = _unwrapped(RunConfig.model_json_schema(by_alias=True))
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **schema, "title": "mpiexec-runner configuration"}


def _unwrapped(schema: Any) -> Any:
    """Return the schema with each description in one line, as docstrings are broken where the code ends."""
    match schema:
        case dict():
            return {
                key: " ".join(value.split())
                if key == "description" and isinstance(value, str)
                else _unwrapped(value)
                for key, value in schema.items()
            }
        case list():
            return [_unwrapped(item) for item in schema]
        case _:
            return schema


def reference_markdown() -> str:
    """Return the reference page: a table of keys for each settings class."""
    parts = [_INTRODUCTION, _section(RunConfig, "## The file")]
    parts += [
        _section(
            TaskSettings,
            "## Settings of tasks",
            "Allowed in `defaults`, `sweep`, every tool, job and task of a list, and beside `file`. Of "
            "`resources` and `retries` each key is handed down from `defaults` by itself.",
        )
    ]
    parts += [_section(ResourceSettings, "### `resources`"), _section(RetrySettings, "### `retries`")]
    parts += [_section(FailureRetrySettings, "### `retries.on`")]
    parts += ["## `tools`\n\n" + _TOOLS, _section(ToolSettings, "### A tool", without=TaskSettings)]
    parts += ["## `tasks`\n\n" + _TASKS, _section(TaskEntry, "### A task of a list", without=TaskSettings)]
    parts += [_section(TaskFile, "### Tasks from a file", without=TaskSettings)]
    parts += [_section(SweepSettings, "## `sweep`", without=TaskSettings)]
    parts += ["## `workflow`\n\n" + _WORKFLOW, _section(JobEntry, "### A job", without=TaskSettings)]
    parts += [_REFERENCES, _COMMANDS, _PARAMETERS]
    parts += [_section(kind, f"### `{name}`") for name, kind in GENERATORS.items()]
    parts += [_CONDITIONS]
    components: list[tuple[str, type[Settings]]] = [
        ("scheduler", SchedulerSettings),
        ("workers", WorkerSettings),
        ("heartbeat", HeartbeatSettings),
        ("checkpoint", CheckpointSettings),
        ("limits", LimitSettings),
        ("run", RunSettings),
    ]
    parts += [_section(model, f"## `{key}`") for key, model in components]
    return "\n".join(parts)


def _section(
    model: type[Settings], heading: str, text: str = "", without: type[Settings] | None = None
) -> str:
    """Return heading, description and table of one settings class."""
    schema = _unwrapped(model.model_json_schema(by_alias=True))
    inherited = set(without.model_fields) if without else set()
    about = schema.get("description", "")
    rows = [row for key, row in _rows(schema) if key not in inherited]
    paragraphs = [
        heading,
        "",
        about,
        *(["", text] if text else []),
        *(["", "Further keys: [settings of tasks](#settings-of-tasks)."] if without else []),
    ]
    table = ["| key | type | default | meaning |", "|---|---|---|---|", *rows]
    return "\n".join([*paragraphs, "", *table, ""])


def _rows(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    required, definitions = schema.get("required", []), schema.get("$defs", {})
    for key, value in schema["properties"].items():
        words = _words(value, definitions)
        default = "required" if key in required else _default(value.get("default"))
        # A description that is that of the section is left out beside a reference to it.
        section = definitions.get(value.get("$ref", "").rpartition("/")[2], {})
        meaning = value.get("description") or section.get("description", "")
        yield (
            key,
            "| "
            + " | ".join(cell.replace("|", "\\|") for cell in (f"`{key}`", words, default, meaning))
            + " |",
        )


def _default(value: Any) -> str:
    if value is None:
        return "none"
    return "see below" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"


def _words(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return the type of a key as a reader would say it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _words(definitions[name], definitions) if "enum" in definitions[name] else "mapping"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(item)}`".replace('"', "") for item in schema["enum"])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        words = [_words(option, definitions) for option in options if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    kind = schema.get("type", "any value")
    if isinstance(kind, list):
        return (
            "any value" if "object" in kind else " or ".join(_NOUNS[item] for item in kind if item != "null")
        )
    if kind == "array":
        return _words_of_list(schema, definitions)
    return _NOUNS.get(kind, str(kind)) + _limits(schema)


_NOUNS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true`, `false`",
    "object": "mapping",
    "null": "null",
}


def _words_of_list(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if prefix := schema.get("prefixItems"):
        return "[" + ", ".join(_words(item, definitions) for item in prefix) + "]"
    return f"list ({_words(schema.get('items', {}), definitions)})"


def _limits(schema: dict[str, Any]) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    told = [
        f"{word} {schema[key]:,g}" if isinstance(schema[key], float) else f"{word} {schema[key]:,}"
        for key, word in words.items()
        if key in schema
    ]
    return " " + " ".join(told) if told else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the two files into a directory, or the schema to standard output."""
    parser = argparse.ArgumentParser(prog="python -m mpiexec_runner.config.schema", description=main.__doc__)
    parser.add_argument("--write", type=Path, metavar="DIRECTORY", help="where to write the files")
    directory = parser.parse_args(arguments).write
    schema = json.dumps(json_schema(), indent=2) + "\n"
    if directory is None:
        sys.stdout.write(schema)
    else:
        (directory / SCHEMA_FILE).write_text(schema, encoding="utf-8")
        (directory / REFERENCE_FILE).write_text(reference_markdown(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
