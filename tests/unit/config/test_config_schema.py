"""The descriptions of the configuration: kept in docs/, and the same as the models."""

import json
import re
from pathlib import Path

import pytest

from mpiexec_runner.config.schema import REFERENCE_FILE, SCHEMA_FILE, json_schema, main, reference_markdown

DOCS = Path(__file__).parents[3] / "docs"
REMEDY = "the models changed: run  python -m mpiexec_runner.config.schema --write docs"


def test_the_kept_schema_is_that_of_the_models():
    assert json.loads((DOCS / SCHEMA_FILE).read_text(encoding="utf-8")) == json_schema(), REMEDY


def test_the_kept_reference_is_that_of_the_models():
    assert (DOCS / REFERENCE_FILE).read_text(encoding="utf-8") == reference_markdown(), REMEDY


def test_every_key_is_described():
    schema = json_schema()
    for name, section in {"the file": schema, **schema["$defs"]}.items():
        for key, value in section.get("properties", {}).items():
            described = (
                "description" in value or "description" in schema["$defs"][value["$ref"].split("/")[-1]]
            )
            assert described, f"{name}: {key} has no docstring"


def test_unknown_keys_are_refused_everywhere():
    sections = [section for section in json_schema()["$defs"].values() if section["type"] == "object"]
    assert len(sections) > 15
    assert all(section["additionalProperties"] is False for section in sections)


def test_the_short_forms_are_allowed():
    schema = json_schema()
    forms = schema["$defs"]["SweepSettings"]["properties"]["parameters"]["additionalProperties"]["oneOf"]
    assert {form.get("type") if isinstance(form.get("type"), str) else "any" for form in forms} == {
        "array",
        "any",
    }
    assert {"$ref": "#/$defs/Linspace"} in forms
    tasks, nothing = schema["properties"]["tasks"]["anyOf"]
    assert [option.get("type", "mapping") for option in tasks["oneOf"]] == ["array", "mapping"]
    assert nothing == {"type": "null"}
    assert schema["oneOf"] == [{"required": [kind]} for kind in ("tasks", "sweep", "workflow")]


def test_no_constraint_is_lost_to_the_schema():
    """A word such as "gt" is one that pydantic could not translate."""
    assert not re.findall(r'"(gt|ge|lt|le|strict|allow_inf_nan|min_length)":', json.dumps(json_schema()))


@pytest.mark.parametrize("arguments", [[], ["--write"]])
def test_the_command_writes_them(arguments, tmp_path, capsys):
    assert main([*arguments, str(tmp_path)] if arguments else []) == 0
    if arguments:
        assert {file.name for file in tmp_path.iterdir()} == {SCHEMA_FILE, REFERENCE_FILE}
    else:
        assert json.loads(capsys.readouterr().out) == json_schema()
