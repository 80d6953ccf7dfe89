"""Text, JSON and YAML as every file of the user's is read: exactly as written, or refused in one line with its place."""

from __future__ import annotations

import codecs
import json
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.config.document import parse_document
from crucible.errors import InputError
from crucible.models.scripted import ScriptedModel
from crucible.reading import FAST, decode, parse_json, parse_yaml

PAD = "# " + "x" * FAST + "\n"
"""Makes a text long enough for the fast reader."""
LONG = "1" + "0" * 5000


@pytest.mark.parametrize("pad", ["", PAD], ids=["exact", "fast"])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E+3", 1000.0),
        (".5e3", 500.0),
        ("-2.5e1", -25.0),
        ("1.5", 1.5),
        ("0", 0),
        ("-7", -7),
        ("0x1F", 31),
        (".inf", float("inf")),
        ("true", True),
        ("False", False),
        ("null", None),
        ("y", "y"),
        ("N", "N"),
        ("1e", "1e"),
        ("e5", "e5"),
        ("=", "="),
        ("'yes'", "yes"),
        ('"010"', "010"),
        ("'1:30'", "1:30"),
        ("on time", "on time"),
    ],
)
def test_a_plain_value_is_what_it_looks_like(text: str, value: object, pad: str) -> None:
    found = parse_yaml(f"{pad}a: {text}\n", "t.yaml")["a"]
    assert found == value and type(found) is type(value)


AMBIGUOUS = ["yes", "no", "Yes", "NO", "on", "off", "ON", "1:30", "190:20:30", "1:30.5", "010", "-017", "08", "0o17"]
AMBIGUOUS += ["1_000", "0x_1f", "1_0.5"]


@pytest.mark.parametrize("pad", ["", PAD], ids=["exact", "fast"])
@pytest.mark.parametrize("text", AMBIGUOUS)
def test_what_readers_of_yaml_disagree_about_is_refused_with_its_line(text: str, pad: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(f"{pad}a: 1\nb: [{text}]\n", "t.yaml")
    line = 3 if pad else 2
    assert str(caught.value).startswith(f"t.yaml, line {line}: ") and "quote it if it is text" in str(caught.value)


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_a_settings_file_is_read_by_the_same_rules(text: str) -> None:
    ((position, why),) = parse_document(f"model:\n  name: {text}\n").problems
    assert position == (2, 9) and "quote it if it is text" in why


def test_a_settings_file_may_hold_an_exponent() -> None:
    assert parse_document("rewards:\n  time: 1e-3\n").data == {"rewards": {"time": 1e-3}}


@pytest.mark.parametrize("pad", ["", PAD], ids=["exact", "fast"])
def test_a_key_set_twice_is_refused_with_both_lines(pad: str) -> None:
    first = 2 if pad else 1
    with pytest.raises(InputError, match=rf"line {first + 2}: .*`tests` is set twice, first on line {first}\b"):
        parse_yaml(f"{pad}tests: a\nprompt: p\ntests: b\n", "t.yaml")


def test_a_key_set_twice_in_json_is_refused() -> None:
    with pytest.raises(InputError, match="`tests` is set twice"):
        parse_json('{"a": {"tests": 1, "b": 2, "tests": 3}}', "t.json")


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_an_integer_of_thousands_of_digits_is_read(parse: object) -> None:
    before = sys.get_int_max_str_digits()
    assert parse(f'{{"a": {LONG}}}', "t")["a"] == 10**5000  # type: ignore[operator]
    assert sys.get_int_max_str_digits() == before


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_an_integer_of_a_million_digits_is_one_line(parse: object) -> None:
    with pytest.raises(InputError) as caught:
        parse('{"a": 1' + "0" * 1_000_000 + "}", "t")  # type: ignore[operator]
    assert len(str(caught.value)) < 300


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert decode(codecs.BOM_UTF8 + "é".encode(), "f.py") == "é"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_refused_by_name(encoding: str) -> None:
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    with pytest.raises(InputError, match="save the file as UTF-8"):
        decode(mark + "print(1)".encode(encoding), "f.py")


def test_a_script_of_replies_is_read_by_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("- yes\n")
    with pytest.raises(InputError, match=r"line 1: .*quote it if it is text"):
        ScriptedModel.from_file(path)
    path.write_bytes(codecs.BOM_UTF8 + b"- 'yes'\n")
    assert ScriptedModel.from_file(path)
    path = tmp_path / "s.json"
    path.write_text(json.dumps(["\N{GRINNING FACE}"]))
    assert ScriptedModel.from_file(path)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_raises_anything_but_input_error(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        try:
            parse(text, "t")
        except InputError as error:
            assert "\n" not in str(error)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abc yn:_-'123", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(PLAIN)
def test_what_a_yaml_writer_wrote_is_read_back(value: object) -> None:
    assert parse_yaml(yaml.safe_dump(value), "t.yaml") == value


@settings(deadline=None)
@given(PLAIN)
def test_json_is_read_as_yaml_too(value: object) -> None:
    assert parse_yaml(json.dumps(value), "t.yaml") == parse_json(json.dumps(value), "t.json") == value
