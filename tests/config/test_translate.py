"""Settings files of another system's form: their keys are read as ours, and what means something else is said with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.cli.config import validate
from crucible.config import Settings, load_settings
from crucible.config.document import parse_document
from crucible.config.load import examine_file, validate_file
from crucible.config.translate import translate

SEEDS = Path(__file__).parent / "seeds"
FILE = Path("mine.yaml")


def loaded(text: str) -> Settings:
    FILE.write_text(text)
    return load_settings(config_file=FILE)


def notes(text: str) -> list[str]:
    FILE.write_text(text)
    assert validate_file(FILE) == []
    return examine_file(FILE).notes


@pytest.mark.parametrize("name", ["model", "cycles", "tools"])
def test_each_file_is_valid_as_it_stands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = SEEDS / f"{name}.yaml"
    assert validate(path) == 0
    assert f"{name}.yaml: ok" in capsys.readouterr().out
    load_settings(config_file=path)


def test_the_models_file_is_read_as_ours(capsys: pytest.CaptureFixture[str]) -> None:
    model = load_settings(config_file=SEEDS / "model.yaml").model
    assert (model.name, model.engine, model.temperatures) == ("deepseek_coder_v3", "sglang", (0.1,))
    assert (model.max_tokens, model.top_p) == (8192, 0.95)
    validate(SEEDS / "model.yaml")
    said = capsys.readouterr().err
    for line, words in (
        (2, "unknown model 'deepseek_coder_v3'"),
        (3, "sgllang_trt is read as sglang"),
        (4, "leave no room for a prompt: model.context_length (4096)"),
        (5, "0.1 is read as model.temperatures: [0.1]"),
    ):
        assert any(f"model.yaml:{line}:3" in each and words in each for each in said.splitlines()), words


def test_the_cycles_file_means_the_same_here() -> None:
    cycles = load_settings(config_file=SEEDS / "cycles.yaml").cycles
    assert (cycles.max_cycles, cycles.max_reflect, cycles.require_human_approval) == (10, 3, True)
    assert examine_file(SEEDS / "cycles.yaml").notes == []


def test_the_lists_switch_what_they_name() -> None:
    tools = loaded("cycles: {}\ntools: {enable: [dataset_logging], disabled: [lint, reflection]}").tools
    assert (tools.dataset_logging, tools.lint, tools.reflection, tools.memory) == (True, False, False, True)


def test_each_of_the_tools_files_safety_switches_is_said() -> None:
    said = examine_file(SEEDS / "tools.yaml").notes
    lines = [int(each.split(".yaml:")[1].split(":")[0]) for each in said]
    assert lines == [3, 8, 9, 10]
    assert "always on" in said[0] and "require_human_approval" in said[1] and "never on" in said[2] and "yes" in said[3]


def test_no_execution_without_a_person_means_a_yes_is_needed(user_file: Path) -> None:
    user_file.write_text("cycles: {require_human_approval: false}\n")
    assert load_settings().cycles.approval == "auto"
    assert loaded("tools: {disabled: [autonomous_execution]}").cycles.approval == "ask"


def test_a_list_never_lets_programs_run_unasked(user_file: Path) -> None:
    user_file.write_text("cycles: {approve: never}\n")
    for text in ("tools: {enable: [autonomous_execution]}", "tools: {disabled: [autonomous_execution]}"):
        assert loaded(text).cycles.approval == "never"
    assert "is not read" in notes("tools: {enable: [autonomous_execution]}")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: {temperature: 0.2, temperatures: [0.5]}", "model.temperatures is set, and wins"),
        ("tools: {enable: [reflection], disabled: [reflection]}", "tools.reflection is set to false, and wins"),
        ("tools: {enable: [lint], lint: false}", "tools.lint is set to false, and wins"),
        ('tools: {enable: ["a\\eb"]}', "a\\x1bb is read by nothing here"),
        ("tools: {enable: [telepathy]}", "telepathy is read by nothing here; there are static_analysis"),
        (
            "tools: {disabled: [autonomous_execution]}\ncycles: {require_human_approval: false}",
            "is not read: cycles.require_human_approval is set",
        ),
    ],
)
def test_what_does_not_count_is_said(text: str, said: str) -> None:
    assert any(said in note for note in notes(text)), notes(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tools: {enable: reflection}", "1:9: tools.enable: must be a list of names"),
        ("tools: {disabled: [1]}", "1:9: tools.disabled: must be a list of names"),
        ("model: {temperature: 9}", "model.temperatures"),
        ("model: {temperature: hot}", "model.temperature: no such setting; did you mean model.temperatures?"),
        ("model: {engine: trt}", "model.engine"),
    ],
)
def test_what_is_wrong_is_a_problem_with_its_place(text: str, problem: str) -> None:
    FILE.write_text(text)
    (found,) = validate_file(FILE)
    assert problem in found and "mine.yaml:1:" in found


NAMES = st.sampled_from(
    ["enable", "disabled", "temperature", "temperatures", "engine", "lint", "max_tokens", "approve"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["lint", "autonomous_execution", "sgllang_trt", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["model", "tools", "cycles"]), st.dictionaries(NAMES, VALUES) | VALUES) | VALUES)
def test_any_data_is_translated_or_left(data: object) -> None:
    import yaml

    document = parse_document(yaml.safe_dump(data))
    for position, text in translate(document, context_length=4096):
        assert position is not None and text.isprintable()
