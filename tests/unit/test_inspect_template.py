"""proa.engine.template: Docker's --format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.engine.template import Format, Template, align, parse_format
from proa.engine.template.functions import NAMES
from proa.errors import Invalid

VALUE: dict[str, Any] = {
    "Id": "abcdef",
    "Name": "/web",
    "State": {"Running": True, "Pid": 7, "Error": ""},
    "Args": ["a", "b"],
    "Config": {"Labels": {"x": "1", "y z": "2"}, "Env": None},
    "Mounts": [{"Source": "/a", "RW": True}, {"Source": "/b", "RW": False}],
    "Ratio": 1.5,
    "Empty": [],
    "Label": lambda name: f"<{name}>",
}


def render(text: str) -> str:
    return Template(text).render(VALUE)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain } { text", "plain } { text"),
        ("{{.Id}}-{{ .Name }}", "abcdef-/web"),
        ("{{.State.Pid}} {{.State.Running}} {{.Ratio}}", "7 true 1.5"),
        ("{{.Args}} {{.Config.Labels}} {{.Config.Env}}", "[a b] map[x:1 y z:2] <nil>"),
        ("{{.Config.Labels.missing}}", "<no value>"),
        ('{{index .Config.Labels "y z"}}|{{index .Config.Labels "no"}}|', "2||"),
        ("{{(index .Mounts 1).Source}}{{index .Args 0}}", "/ba"),
        ("{{json .State}}", '{"Running":true,"Pid":7,"Error":""}'),
        ("{{json .Config.Labels.missing}}{{json .Args}}", 'null["a","b"]'),
        ('{{join .Args ", "}}{{join .Empty "x"}}{{join .Config.Env "x"}}', "a, b"),
        ("{{upper .Name}}{{lower `ABC`}}{{title `one two`}}", "/WEBabcOne Two"),
        ('{{split "a,b,c" ","}}', "[a b c]"),
        ("{{truncate .Id 3}}{{.Id | truncate 2}}", "abcab"),
        ("{{pad .Id 1 2}}|{{pad `` 1 2}}|", " abcdef  ||"),
        ("{{len .Id}}{{len .Args}}{{len .Config.Labels}}", "622"),
        ("{{slice .Id 1 3}} {{slice .Args 1}} {{slice .Id}}", "bc [b] abcdef"),
        ("{{print 1 2 `a` 3}}{{println `x` true}}", "1 2a3x true\n"),
        ('{{printf "%s|%5d|%-4s|%q|%05.1f|%v|%%|%x" "a" 7 "b" "c" 1.25 .Args 255}}',
         'a|    7|b   |"c"|001.2|[a b]|%|ff'),
        ('{{printf "%d %s" 1}}{{printf "%d" "x"}}', "1 %!s(MISSING)%!d(x)"),
        ("{{.Id | upper | printf `%s!`}}", "ABCDEF!"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Empty}}a{{else if .State.Error}}b{{else if .Args}}c{{else}}d{{end}}", "c"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .Empty}}x{{else}}none{{end}}", "7none"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}unknown{{end}}", "unknown"),
        ("{{if .State.Health.Status}}x{{end}}", ""),
        ("{{range .Mounts}}{{.Source}};{{else}}none{{end}}", "/a;/b;"),
        ("{{range .Empty}}x{{else}}none{{end}}{{range .Config.Env}}x{{end}}", "none"),
        ("{{range $i, $m := .Mounts}}{{if $i}},{{end}}{{$i}}={{$m.Source}}{{end}}", "0=/a,1=/b"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "x=1;y z=2;"),
        ("{{range .Args}}{{if eq . `b`}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{range .Args}}{{if eq . `a`}}{{continue}}{{end}}{{.}}{{end}}", "b"),
        ("{{$x := .Id}}{{range .Args}}{{$x}}{{$.Name}}{{end}}", "abcdef/webabcdef/web"),
        ("{{$x := 1}}{{range .Args}}{{$x = .}}{{end}}{{$x}}", "b"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ("{{eq .State.Pid 7}} {{eq `a` `b` `a`}} {{ne 1 2}} {{eq 1 1.0}}", "true true true true"),
        ("{{lt 1 2}}{{le 2 2}}{{gt `b` `a`}}{{ge 1 2}}", "truetruetruefalse"),
        ("{{and true .Id}} {{and .Empty .Nope}} {{or .Empty .Id}} {{not .Id}}",
         "abcdef [] abcdef false"),
        ("{{eq nil nil}}{{false}}{{-3}}", "truefalse-3"),
        ("a  {{- .Id -}}  b {{- /* comment */ -}} c", "aabcdefbc"),
        ("{{/* }} is no end here */}}x", "x"),
        ('{{"}}"}}{{`raw \\n`}}{{"tab\\t\\u0041"}}', "}}raw \\ntab\tA"),
        ('{{.Label "tier"}}', "<tier>"),
        ("{{len .}}", "9"),
    ],
)  # fmt: skip
def test_templates(template: str, expected: str) -> None:
    assert render(template) == expected


@pytest.mark.parametrize(
    ("template", "place", "problem"),
    [
        ("{{.Id", 1, "'{{' without '}}'"),
        ("a {{if .Id}}", 8, "if without end"),
        ("{{end}}", 3, "unexpected {{end}}"),
        ("{{else}}", 3, "unexpected {{else}}"),
        ("{{if .Id}}{{else}}{{else}}{{end}}", 21, "a second else"),
        ("{{}}", 1, "a value or a function is missing"),
        ("{{.Id | }}", 7, "a value or a function is missing"),
        ("{{.Id | 3}}", 9, "what follows '|' must be a function"),
        ("{{nosuch .Id}}", 3, "function 'nosuch' is not defined"),
        ("{{$x}}", 3, "undefined variable $x"),
        ("{{(.Id}}", 4, "'(' without ')'"),
        ("{{.Id)}}", 6, "unexpected ')'"),
        ("{{break}}", 3, "break outside of range"),
        ("{{template `x`}}", 3, "'template' cannot stand here"),
        ("{{.Id % 2}}", 7, "unexpected '%'"),
        ('{{"\\x"}}', 3, 'bad string "\\x"'),
        ("{{$a, $b := .Id}}", 13, "variables cannot be set like this here"),
        ("{{" + "9" * 5000 + "}}", 3, "the number is too long"),
        ("{{" + "(" * 5000 + "}}", 54, "nested too deeply"),
        ("{{if .Id}}" * 5000, 506, "nested too deeply"),
    ],
)
def test_parse_errors_name_the_place(template: str, place: int, problem: str) -> None:
    with pytest.raises(Invalid) as caught:
        Template(template)
    assert caught.value.message.endswith(problem)
    assert f"at character {place} " in caught.value.message


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{.Nope}}", "no field 'Nope'"),
        ("{{.State.Nope}}", "no field 'Nope'"),
        ("{{.Id.Nope}}", "cannot read field 'Nope' of abcdef"),
        ("{{index .Args 5}}", "index 5 is out of range"),
        ("{{index .Args `x`}}", "'x' is not an index"),
        ("{{index .State.Pid 0}}", "cannot index 7"),
        ("{{slice .Id 5 99}}", "slice 5:99 is out of range"),
        ("{{range .Id}}{{end}}", "range cannot iterate over abcdef"),
        ("{{eq 1 `a`}}", "incompatible types for comparison: number and string"),
        ("{{lt .Args .Args}}", "cannot order list and list"),
        ("{{upper}}", "wrong arguments for upper"),
        ("{{.Id 3}}", ".Id takes no arguments"),
        ("{{.Label}}", "wrong arguments for .Label"),
        ("{{len .State.Pid}}", "len of 7"),
        ("{{join .State.Pid `,`}}", "join needs a list"),
        ("{{eq 1}}", "eq needs two values"),
        ("{{and}}", "and needs a value"),
    ],
)
def test_values_that_do_not_fit_are_errors(template: str, problem: str) -> None:
    with pytest.raises(Invalid) as caught:
        render(template)
    assert problem in caught.value.message


def test_a_wrong_field_lists_the_right_ones() -> None:
    with pytest.raises(Invalid) as caught:
        render("{{.State.Foo}}")
    assert caught.value.hint == "the fields are Error, Pid, Running"


@pytest.mark.parametrize("field", ["__class__", "__globals__", "upper", "_nodes"])
def test_no_attribute_of_python_can_be_reached(field: str) -> None:
    for base in (".", ".Id.", ".Label.", ".Args.", "(print).", ".Config.Labels."):
        try:
            text = render("{{" + base + field + "}}")
        except Invalid:
            continue
        assert text == "<no value>"


def test_json_leaves_methods_out() -> None:
    assert "Label" not in json.loads(render("{{json .}}"))


_PIECES = st.sampled_from(
    ["{{", "}}", "{{-", "-}}", "if ", "else", "end", "range ", "with ", "$x", ":=", "=", ",", "|",
     "(", ")", ".", ".Id", ".Args", ".State", '"a"', "`b`", "1", "-2", "true", "nil", " ", "\n",
     "/*", "*/", "break", *sorted(NAMES)]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(_PIECES, max_size=25).map("".join)))
@settings(max_examples=500, deadline=None)
def test_any_text_renders_or_is_invalid(text: str) -> None:
    for template in (text, "{{" + text + "}}"):
        try:
            result = render(template)
        except Invalid as error:
            result = error.message
            assert result.startswith("template"), result
        assert isinstance(result, str)


@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_actions_is_itself(text: str) -> None:
    assert render(text) == text


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(_JSON)
def test_json_of_any_value_is_that_value(value: object) -> None:
    assert json.loads(Template("{{json .}}").render(value)) == value


@given(st.lists(st.text()), st.text(min_size=1))
def test_join_and_range_agree(values: list[str], separator: str) -> None:
    quoted = json.dumps(separator)
    joined = Template("{{join . " + quoted + "}}").render(values)
    assert joined == separator.join(values)
    ranged = Template("{{range $i, $e := .}}{{if $i}}{{" + quoted + "}}{{end}}{{$e}}{{end}}")
    assert ranged.render(values) == joined


# -- formats and tables ----------------------------------------------------------------------

ROWS = [{"ID": "abc", "Names": "web"}, {"ID": "a-very-long-id", "Names": "other"}]
TITLES = {"ID": "CONTAINER ID", "Names": "NAMES", "Label": lambda name: name}


def test_a_template_gives_a_line_a_row() -> None:
    assert parse_format("{{.ID}}: {{.Names}}").render(ROWS, TITLES) == (
        "abc: web\na-very-long-id: other\n"
    )


def test_json_gives_a_document_a_row() -> None:
    lines = parse_format("json").render(ROWS, TITLES).splitlines()
    assert [json.loads(line) for line in lines] == ROWS


def test_table_aligns_under_titles() -> None:
    assert parse_format(r"table {{.ID}}\t{{.Names | upper}}").render(ROWS, TITLES) == (
        "CONTAINER ID     NAMES\n"
        "abc              WEB\n"
        "a-very-long-id   OTHER\n"
    )  # fmt: skip


def test_table_without_rows_is_a_header() -> None:
    assert parse_format('table {{.ID}}\t{{.Label "tier"}}').render([], TITLES) == (
        "CONTAINER ID   tier\n"
    )


@pytest.mark.parametrize("text", ["", "table", " table "])
def test_the_commands_own_table(text: str) -> None:
    wanted = parse_format(text)
    assert wanted == Format(None, table=True)
    with pytest.raises(ValueError, match="no template"):
        wanted.render([], {})


def test_columns_are_ten_wide_at_least() -> None:
    assert align(["A\tB\tC", "1\t2\t3"]) == "A         B         C\n1         2         3\n"
    assert align([]) == ""
    assert align(["x"]) == "x\n"
    assert align(["A\tB", "only"]) == "A         B\nonly\n"
