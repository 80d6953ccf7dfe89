"""What a user is told about settings that are wrong: which source, which place, which key, what to do."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.config import load_settings, validate_file
from crucible.config.checks import KEYS, nearest
from crucible.config.document import MAX_BYTES, parse_document
from crucible.errors import ConfigError

FILE = Path("crucible.yaml")


def problems(text: str | bytes) -> list[str]:
    FILE.write_bytes(text.encode() if isinstance(text, str) else text)
    found = validate_file(FILE)
    for line in found:
        assert line.startswith("crucible.yaml")
        assert line.isprintable(), line
    if found:
        with pytest.raises(ConfigError) as caught:
            load_settings()
        assert str(caught.value).startswith(found[0])
    else:
        load_settings()
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cycles:\n  sampels: 3", "2:3: cycles.sampels: no such setting; did you mean cycles.samples?"),
        (
            "cycles:\n  max-cycles: 3",
            "2:3: cycles.max-cycles: no such setting; did you mean cycles.max_cycles?",
        ),
        ("model:\n  samples: 3", "2:3: model.samples: no such setting; did you mean cycles.samples?"),
        ("cycels: {}", "1:1: cycels: no such setting; did you mean cycles?"),
        ("samples: 3", "1:1: samples: no such setting; did you mean cycles.samples?"),
        ("zzzz: 3", "1:1: zzzz: no such setting"),
        ("cycles:\n  samples: '3'", "2:3: cycles.samples: must be a valid integer, not '3'"),
        ("cycles: {samples: true}", "1:10: cycles.samples: must be a valid integer, not true"),
        ("cycles: {samples: }", "1:10: cycles.samples: must be a valid integer, not empty"),
        ("cycles: {samples: 0}", "1:10: cycles.samples: must be greater than or equal to 1, not 0"),
        ("tools: {lint: 1}", "1:9: tools.lint: must be a valid boolean, not 1"),
        (
            "model: {engine: vllm}",
            "1:9: model.engine: must be 'auto', 'embedded', 'openai', 'scripted' or 'sglang'",
        ),
        ("model: {top_p: .nan}", "1:9: model.top_p: must be a finite number, not nan"),
        ("cycles: {max_wall_s: .inf}", "1:10: cycles.max_wall_s: must be a finite number, not inf"),
        (
            "model: {temperatures: [0, 3]}",
            "1:27: model.temperatures.1: must be less than or equal to 2, not 3",
        ),
        ("model: {temperatures: []}", "1:9: model.temperatures: must list 1 to 256 temperatures, not []"),
        (
            "model: {base_url: localhost}",
            "1:9: model.base_url: must begin with http:// or https:// and name a host",
        ),
        ("model: {name: {a: 1}}", "1:9: model.name: must be a valid string, not {'a': 1}"),
        ("model: {memory: true}", "1:9: model.memory: no such setting; did you mean tools.memory?"),
        ("rewards: {tests: -1}", "1:11: rewards.tests: must be greater than or equal to 0, not -1"),
        ("rewards: {all_tests_bonus: 2}", "1:11: rewards.all_tests_bonus: must be less than or equal to 1, not 2"),
        ("model: fast", "1:1: model: must hold settings (key: value), not 'fast'"),
        (
            "- a",
            ": must hold sections (model, cycles, tools, memory, sandbox, rewards, "
            "curriculum, hints, health) with settings under them",
        ),
        ("cycles:\n  seed: 1\n  seed: 2", "3:3: cycles.seed: set twice, first on line 2"),
        ("cycles: {}\ncycles: {}", "2:1: cycles: set twice, first on line 1"),
        ("? [a]\n: 1", "1:3: a key must be a plain name"),
        ("cycles: {seed: 2024-01-01}", "1:10: cycles.seed: must be a valid integer, not '2024-01-01'"),
        ("cycles: {seed: 2024-99-99}", "1:10: cycles.seed: must be a valid integer, not '2024-99-99'"),
        ("a: &x 1\nb: *x", "2:4: not valid YAML: aliases (*name) are not allowed here"),
        ("model: !!python/object:os.system {}", "1:8: not valid YAML: tags (!name) are not allowed here"),
        ("[" * 100_000, "1:9: not valid YAML: nested too deeply"),
        ("model: {name: x\ncycles: 1", "2:"),
        ("model:\n\tname: x", "2:1: not valid YAML"),
        ("a: 1\n---\nb: 2", "2:1: not valid YAML: expected a single document in the stream"),
        ("model:\n  name: \x07", "2:9: holds a character YAML forbids (#x0007)"),
        ('model: {name: "\\ud800"}', "1:15: holds half a surrogate pair, which is no character"),
        (b"model:\n  name: caf\xe9", "2:12: is not UTF-8; save the file as UTF-8"),
        (b"#" * (MAX_BYTES + 1), "is larger than 1 MiB; a settings file is not"),
        ('"\\e[31mx": 1', "1:1: \\x1b[31mx: no such setting"),
    ],
)
def test_message(text: str | bytes, expected: str):
    found = problems(text)
    assert found[0].removeprefix("crucible.yaml:").lstrip().startswith(expected.lstrip(": ")), found


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "model:\n", "---\n...\n", "﻿cycles: {seed: 1}\n", "cycles: {max_wall_s: 5}"]
)
def test_nothing_wrong(text: str):
    assert problems(text) == []


def test_all_problems_are_reported_not_only_the_first():
    found = problems("cycles:\n  samples: 0\n  sede: 1\nmodel:\n  port: x\n  port: 1\ntoolz:\n  lint: 1\n")
    assert len(found) == 5
    with pytest.raises(ConfigError, match=r"\(and 4 more\)$"):
        load_settings()


def test_files_that_are_none(tmp_path: Path):
    assert validate_file(tmp_path / "absent.yaml") == [f"{tmp_path}/absent.yaml: no such file"]
    assert validate_file(tmp_path) == [f"{tmp_path}: is a folder, not a settings file"]
    assert validate_file(Path("/dev/zero")) == ["/dev/zero: is larger than 1 MiB; a settings file is not"]
    (tmp_path / "crucible.yaml").mkdir()
    load_settings(project_dir=tmp_path)  # a folder of that name is no settings file


def test_no_message_shows_a_secret():
    for text in (
        "model: {api_key: 12345678}",
        "model: {api_key: [12345678]}",
        "model: {api_kee: '12345678'}",
    ):
        assert "12345678" not in problems(text)[0]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("CRUCIBLE_HOEM", "x", "CRUCIBLE_HOEM: no such setting; did you mean CRUCIBLE_HOME?"),
        (
            "CRUCIBLE_CYCLES__SAMPELS",
            "3",
            "CRUCIBLE_CYCLES__SAMPELS: no such setting; did you mean CRUCIBLE_CYCLES__SAMPLES?",
        ),
        (
            "CRUCIBLE_CYCLES_SAMPLES",
            "3",
            "CRUCIBLE_CYCLES_SAMPLES: no such setting; did you mean CRUCIBLE_CYCLES__SAMPLES?",
        ),
        ("CRUCIBLE_MODEL", "x", "CRUCIBLE_MODEL: no such setting; did you mean CRUCIBLE_MODEL__ADAPTER?"),
        (
            "CRUCIBLE_MODEL__NAME__X",
            "x",
            "CRUCIBLE_MODEL__NAME__X: no such setting; did you mean CRUCIBLE_MODEL__NAME?",
        ),
        (
            "CRUCIBLE_CYCLES__SAMPLES",
            "x",
            "CRUCIBLE_CYCLES__SAMPLES: cycles.samples: must be a valid integer, not 'x'",
        ),
        (
            "CRUCIBLE_MODEL__TEMPERATURES",
            "a",
            "CRUCIBLE_MODEL__TEMPERATURES: model.temperatures.0: must be a valid number, not 'a'",
        ),
        (
            "CRUCIBLE_MODEL__NAME",
            "null",
            "CRUCIBLE_MODEL__NAME: model.name: must be a valid string, not empty",
        ),
        (
            "CRUCIBLE_HOME",
            "~nobody-of-that-name/x",
            "CRUCIBLE_HOME: '~nobody-of-that-name/x' is no usable folder",
        ),
    ],
)
def test_variables(monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: str):
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"environment variable {expected}")


def test_a_variable_that_is_not_text(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CRUCIBLE_MODEL__NAME", os.fsdecode(b"\xff"))
    with pytest.raises(ConfigError, match="must be a valid string"):
        load_settings()


def test_what_is_wrong_only_taken_together(monkeypatch: pytest.MonkeyPatch):
    weights = [key for key in load_settings().rewards.weights if key != "tests"]
    FILE.write_text(f"rewards: {{{', '.join(f'{key}: 0' for key in weights)}}}")
    assert load_settings().rewards.weights == {"tests": 10, **dict.fromkeys(weights, 0)}
    monkeypatch.setenv("CRUCIBLE_REWARDS__TESTS", "0")
    with pytest.raises(ConfigError, match=r"^settings: rewards: at least one weight must be above 0"):
        load_settings()


def test_options():
    with pytest.raises(ConfigError, match=r"option: cycles.samples: must be greater than or equal to 1, not 0"):
        load_settings(overrides={"cycles": {"samples": 0}})
    with pytest.raises(ConfigError, match=r"option: cycles.sample: no such setting; did you mean cycles.samples\?"):
        load_settings(overrides={"cycles": {"sample": 1}})
    with pytest.raises(ConfigError, match="option: cycles: must hold settings"):
        load_settings(overrides={"cycles": 3})


@given(st.data())
def test_a_key_with_one_slip_is_suggested_back(data: st.DataObject):
    dotted = data.draw(st.sampled_from([key for key in KEYS if len(key.partition(".")[2]) > 4]))
    section, _, key = dotted.partition(".")
    place = data.draw(st.integers(0, len(key) - 1))
    slip = data.draw(st.sampled_from(["drop", "double", "swap", "replace"]))
    wrong = {
        "drop": key[:place] + key[place + 1 :],
        "double": key[:place] + key[place] + key[place:],
        "swap": key[:place] + key[place : place + 2][::-1] + key[place + 2 :],
        "replace": key[:place] + "x" + key[place + 1 :],
    }[slip]
    if f"{section}.{wrong}" not in KEYS:
        assert nearest((section, wrong)) == dotted


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_gives_a_document_or_problems(text: str):
    document = parse_document(text)
    assert document.data is None or not any("not valid" in problem for _, problem in document.problems)


def test_a_hostile_file_is_done_with_quickly():
    began = time.monotonic()
    for unit in ("[", "{", "- ", "&a ", "a: {", "'", "? "):
        parse_document(unit * (MAX_BYTES // len(unit)))
    assert time.monotonic() - began < 30
