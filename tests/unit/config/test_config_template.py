"""Command templates: what may stand in one, and that no value can break out of its place."""

import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiexec_runner.errors import UserError
from mpiexec_runner.execute.template import escape, fields_of, render

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


def test_a_list_is_filled_in_without_quoting():
    assert render(["echo", "{x}", "a-{y}-{x}"], {"x": "a b", "y": 1}) == ["echo", "a b", "a-1-a b"]


def test_text_goes_to_the_shell():
    assert render("echo {x}", {"x": "a b"}) == ["/bin/sh", "-c", "echo 'a b'"]


@pytest.mark.parametrize(
    ("template", "fields", "expected"),
    [
        ("{T:.3f}", {"T": 0.5}, "0.500"),
        ("{i:04d}", {"i": 7}, "0007"),
        ("{T}", {"T": 0.1}, "0.1"),
        ("{{T}} {T}", {"T": 1}, "{T} 1"),
        ("awk '{{print $1}}'", {}, "awk '{print $1}'"),
        ("'{x}'", {"x": "it's"}, "'it'\\''s'"),
        ('"{x}"', {"x": '$a `b` "c" \\'}, '"\\$a \\`b\\` \\"c\\" \\\\"'),
        ('"$(cat {x})"', {"x": "a b"}, "\"$(cat 'a b')\""),
        ('"$(cat "{x}")"', {"x": "a$b"}, '"$(cat "a\\$b")"'),
        ("a-{x}-b", {"x": ""}, "a-''-b"),
        ("echo \\\\{x}", {"x": "a b"}, "echo \\\\'a b'"),
        ("echo \\${x}", {"x": "a b"}, "echo \\$'a b'"),
        ("(cd {x}); '{x}'", {"x": "a b"}, "(cd 'a b'); 'a b'"),
        ("echo a#{x} # don't\n{x}", {"x": "a b"}, "echo a#'a b' # don't\n'a b'"),
        ("$(( {n} * (1 + {n}) )) {x}", {"n": 3, "x": "a b"}, "$(( 3 * (1 + 3) )) 'a b'"),
        ("`echo \\` {n}` {x}", {"n": 3, "x": "a b"}, "`echo \\` 3` 'a b'"),
        ("cat <<E\nT {T}\nE\nrun {T}", {"T": 0.5}, "cat <<E\nT 0.5\nE\nrun 0.5"),
    ],
)
def test_fields_are_quoted_for_their_place(template, fields, expected):
    assert render(template, fields)[2] == expected


@pytest.mark.parametrize(
    "template",
    [
        "`echo {x}`",
        "cat <<E\n{x}\nE",
        "echo ${{HOME:-{x}}}",
        "echo $(( {x} ))",
        "(( {x} ))",
        "true # {x}",
        "echo $'{x}'",
        "$(case a in a) echo {x};; esac)",
    ],
)
def test_where_quoting_cannot_help_only_harmless_values_are_taken(template):
    assert "0.5" in render(template, {"x": 0.5})[2]
    with pytest.raises(UserError, match="cannot be quoted for the shell"):
        render(template, {"x": "a b"})


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{}", "{} is no field: a field needs a name"),
        ("{0}", "{0} is no field: a field needs a name"),
        ("{a.b}", "{a.b} is no field: a field is one name, without attributes or indices"),
        ("{a[0]}", "{a[0]} is no field: a field is one name, without attributes or indices"),
        ("{a!r}", "{a!r} is no field: conversions are not supported"),
        ("{a:{w}}", "{a:{w}} is no field: a format specification holds no further field"),
        ("{a-b}", "{a-b} is no field: a field's name is made of letters, digits and underscores"),
        ("a } b", "'a } b' is no template: Single '}' encountered in format string"),
        ("a { b", "'a { b' is no template: expected '}' before end of string"),
    ],
)
def test_what_is_no_template_is_refused(template, message):
    for form in (template, [template]):
        with pytest.raises(UserError) as caught:
            fields_of(form)
        assert str(caught.value).startswith(message)
        assert "doubled" in str(caught.value)


@pytest.mark.parametrize("template", ["echo ${HOME}", "echo \\{HOME}", '"${HOME}"', '"\\{HOME}"'])
def test_a_character_that_acts_on_the_quoted_value_is_refused(template):
    with pytest.raises(UserError, match=r"A variable of the shell is written \$\{\{HOME\}\}"):
        fields_of(template)


def test_what_cannot_be_filled_in_is_said():
    with pytest.raises(UserError, match=r"no value is given for the field \{x\}"):
        render("echo {x}", {"y": 1})
    with pytest.raises(UserError, match=r"\{x:.3f\} cannot write 'a'"):
        render("echo {x:.3f}", {"x": "a"})


def test_fields_of_both_forms():
    assert fields_of("a {x} '{y}' {{z}}") == {"x", "y"}
    assert fields_of(["a", "{x}{y}", "{{z}}"]) == {"x", "y"}
    assert fields_of("plain text, it's not even closed") == frozenset()


@settings(deadline=None)
@given(text)
def test_escaped_text_stands_for_itself(value):
    assert render([escape(value)], {}) == [value]
    assert render(escape(value), {})[2] == value


@settings(deadline=None)
@given(text, text)
def test_a_value_stays_one_word(first, second):
    command = render("run {a} --b={b} 'c={a}'", {"a": first, "b": second})[2]
    assert shlex.split(command) == ["run", first, f"--b={second}", f"c={first}"]


@settings(deadline=None)
@given(text)
def test_a_value_in_double_quotes_stays_one_word(value):
    # shlex knows only two of the four characters that a backslash quotes there.
    command = render('run "{a}"', {"a": value})[2]
    assert shlex.split(command.replace("\\$", "$").replace("\\`", "`")) == ["run", value] or "\\" in value


HOSTILE = [
    "a b",
    "'",
    '"',
    "$(echo x)",
    "`echo x`",
    "\\",
    "\\'",
    "",
    "a\nb",
    "; echo x",
    "$HOME",
    "#",
    "*",
    "a'\"b",
]


@pytest.mark.parametrize(
    "template", ["{x}", "'{x}'", '"{x}"', "a{x}b'{x}'", '"$(printf %s. {x})"', '"\\"{x}\\""']
)
def test_the_shell_sees_what_was_meant(template):
    """One shell prints all hostile values, each ended by a character that none of them holds."""

    def printed(values):
        lines = [render(f"printf '%s|' {template}", {"x": value})[2] for value in values]
        shell = ["/bin/sh", "-c", "\n".join(lines)]
        return subprocess.run(shell, capture_output=True, text=True, check=True, timeout=400).stdout

    frame = printed(["MARK"])
    assert printed(HOSTILE) == "".join(frame.replace("MARK", value) for value in HOSTILE)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a {x:*} b", ["/bin/sh", "-c", "a 'p q' 7 b"]),
        ("a '{x:*}'", ["/bin/sh", "-c", "a 'p q 7'"]),
        ("{x:*}", ["/bin/sh", "-c", "'p q' 7"]),
        (["a", "{x:*}", "-f={x:*}"], ["a", "p q", "7", "-f=p q 7"]),
        (["a", "{y:*}"], ["a", "one"]),
        (["a", "{z:*}"], ["a"]),
    ],
)
def test_the_items_of_a_list_become_words(template, expected):
    assert render(template, {"x": ["p q", None, 7], "y": "one", "z": []}) == expected


def test_words_are_no_way_out_of_a_place_without_quoting():
    assert render("a `{x:*}`", {"x": ["b", 1]})[2] == "a `b 1`"
    with pytest.raises(UserError, match="cannot be quoted"):
        render("a `{x:*}`", {"x": ["b", "c d"]})
