"""Precedence, provenance, hash and paths of the loaded settings."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible.config import Settings, load_settings
from crucible.config import settings as settings_module
from crucible.config.checks import KEYS
from crucible.config.settings import Sections
from crucible.errors import ConfigError
from crucible.types import Limits

shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def dumped(loaded: Settings) -> dict:
    return loaded.model_dump(mode="json", include=set(Sections.model_fields))


def test_defaults_are_those_documented():
    loaded = load_settings()
    assert loaded.model.name == "qwen2.5-coder-1.5b"
    assert loaded.model.temperatures == (0.0, 0.5, 0.8, 1.0)
    assert loaded.cycles.max_cycles == 4
    assert loaded.cycles.require_human_approval is True
    assert loaded.tools.disabled_nodes == ()
    assert loaded.memory.min_score == 0.6
    assert {row.source for row in loaded.explain()} == {"default"}


def test_packaged_files_hold_every_key_and_no_python_default_but_none():
    policy = "tools.policy"  # one key, shown rule by rule
    shown = {policy if row.key.startswith(f"{policy}.") else row.key for row in load_settings().explain()}
    assert shown == set(KEYS)
    for section in Sections.model_fields.values():
        for field in section.annotation.model_fields.values():
            assert field.is_required() or field.default is None
    assert {policy if key.startswith(f"{policy}.") else key for key in load_settings().origin} == set(KEYS)


def test_every_field_says_what_it_does():
    tree = ast.parse(Path(settings_module.__file__).read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Settings")]
    for body in (node.body for node in classes if node.name != "Settings"):
        for here, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(here, ast.AnnAssign):
                assert isinstance(after, ast.Expr), ast.unparse(here)
                assert isinstance(after.value, ast.Constant)


def test_sandbox_defaults_are_the_limits_of_a_task():
    assert load_settings().sandbox.limits() == Limits()
    for name, field in Limits.model_fields.items():
        ours = load_settings().sandbox.model_fields_set
        assert name in ours, field


def test_each_source_wins_over_the_one_before(user_file: Path, monkeypatch: pytest.MonkeyPatch):
    user_file.write_text("cycles: {samples: 5, max_cycles: 5, seed: 5, max_reflect: 5}\n")
    Path("crucible.yaml").write_text("cycles:\n  samples: 6\n  max_cycles: 6\n  seed: 6\n")
    monkeypatch.setenv("CRUCIBLE_CYCLES__SAMPLES", "7")
    monkeypatch.setenv("CRUCIBLE_CYCLES__MAX_CYCLES", "7")
    loaded = load_settings(overrides={"cycles": {"samples": 8}})
    cycles = loaded.cycles
    assert (cycles.samples, cycles.max_cycles, cycles.seed, cycles.max_reflect) == (8, 7, 6, 5)
    assert cycles.greedy_first is True
    assert loaded.origin["cycles.samples"] == "option"
    assert loaded.origin["cycles.max_cycles"] == "CRUCIBLE_CYCLES__MAX_CYCLES"
    assert loaded.origin["cycles.seed"] == "crucible.yaml:4"
    assert loaded.origin["cycles.max_reflect"] == f"{user_file}:1"


@shared_folder
@given(st.lists(st.booleans(), min_size=4, max_size=4))
def test_the_strongest_source_that_sets_a_key_wins(tmp_path_factory: pytest.TempPathFactory, given_by: list[bool]):
    folder = tmp_path_factory.mktemp("sources")
    user, project, variable, option = given_by
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        if user:
            (folder / "config" / "crucible").mkdir(parents=True)
            (folder / "config" / "crucible" / "crucible.yaml").write_text("memory: {k: 11}")
        if project:
            (folder / "crucible.yaml").write_text("memory: {k: 12}")
        if variable:
            patch.setenv("CRUCIBLE_MEMORY__K", "13")
        loaded = load_settings(project_dir=folder, overrides={"memory": {"k": 14}} if option else None)
    expected = 14 if option else 13 if variable else 12 if project else 11 if user else 2
    assert loaded.memory.k == expected


def test_a_given_file_replaces_the_project_file():
    Path("crucible.yaml").write_text("cycles: {samples: 6}")
    Path("other.yaml").write_text("cycles: {seed: 9}")
    loaded = load_settings(config_file=Path("other.yaml"))
    assert (loaded.cycles.samples, loaded.cycles.seed) == (4, 9)
    with pytest.raises(ConfigError, match=r"absent.yaml: no such file"):
        load_settings(config_file=Path("absent.yaml"))


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)
values = st.fixed_dictionaries(
    {},
    optional={
        "model": st.fixed_dictionaries(
            {},
            optional={
                "name": names,
                "adapter": st.none() | names,
                "engine": st.sampled_from(["auto", "embedded", "openai", "scripted", "sglang"]),
                "temperatures": st.lists(st.floats(0, 2), min_size=1, max_size=5),
                "top_p": st.floats(0.01, 1),
                "prefill": st.booleans(),
                "context_length": st.integers(256, 1 << 20),
            },
        ),
        "cycles": st.fixed_dictionaries(
            {}, optional={"seed": st.integers(0, 2**32 - 1), "greedy_first": st.booleans()}
        ),
        "tools": st.fixed_dictionaries({}, optional={"disabled_nodes": st.lists(names, max_size=4)}),
        "memory": st.fixed_dictionaries({}, optional={"min_score": st.floats(-1, 1)}),
    },
)


@shared_folder
@given(values)
def test_what_a_file_says_is_what_is_loaded(tmp_path_factory: pytest.TempPathFactory, given_values: dict):
    path = tmp_path_factory.mktemp("round") / "crucible.yaml"
    path.write_text(yaml.safe_dump(given_values, allow_unicode=True), encoding="utf-8")
    from_file = load_settings(config_file=path)
    for section, keys in given_values.items():
        for key, value in keys.items():
            assert dumped(from_file)[section][key] == value
            assert from_file.origin[f"{section}.{key}"].startswith(f"{path}:")
    from_options = load_settings(overrides=given_values)
    assert dumped(from_options) == dumped(from_file)
    assert from_options.hash() == from_file.hash()
    again = Settings.model_validate_json(from_file.model_dump_json())
    assert again == from_file


def test_variables_are_read_by_type(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CRUCIBLE_MODEL__TEMPERATURES", "0, 0.7")
    monkeypatch.setenv("CRUCIBLE_TOOLS__DISABLED_NODES", '["lint", reflect]')
    monkeypatch.setenv("CRUCIBLE_TOOLS__LINT", "off")
    monkeypatch.setenv("CRUCIBLE_MODEL__NAME", "123")
    monkeypatch.setenv("CRUCIBLE_MODEL__DRAFT", "null")
    monkeypatch.setenv("CRUCIBLE_CYCLES__SAMPLES", "")
    Path("crucible.yaml").write_text("model: {draft: ngrams}")
    loaded = load_settings()
    assert loaded.model.temperatures == (0.0, 0.7)
    assert loaded.tools.disabled_nodes == ("lint", "reflect")
    assert loaded.tools.lint is False
    assert loaded.model.name == "123"
    assert loaded.model.draft is None
    assert loaded.cycles.samples == 4


def test_hash_follows_what_changes_results_and_nothing_else(monkeypatch: pytest.MonkeyPatch):
    base = load_settings().hash()
    assert len(base) == 64
    where = {"api_key": "s", "port": 9, "base_url": "http://h", "hub_url": "http://h", "script": "x.json"}
    assert load_settings(overrides={"model": where}).hash() == base
    monkeypatch.setenv("CRUCIBLE_HOME", "elsewhere")
    assert load_settings().hash() == base
    hashes = {load_settings(overrides=changed).hash() for changed in (
        {"cycles": {"seed": 1}}, {"model": {"top_p": 0.9}}, {"tools": {"lint": False}}, {"memory": {"k": 1}},
        {"sandbox": {"wall_s": 5}}, {"model": {"adapter": "a"}}, {"rewards": {"lint": 0}},
    )}  # fmt: skip
    assert len(hashes | {base}) == 8


def test_secrets_are_masked_everywhere_they_are_shown():
    loaded = load_settings(overrides={"model": {"api_key": "sk-secret", "base_url": "http://me:sk-secret@h/v1"}})
    rows = {row.key: row.value for row in loaded.explain()}
    assert rows["model.api_key"] == "**********"
    assert rows["model.base_url"] == "http://**********@h/v1"
    for shown in (
        str(rows),
        repr(loaded.model.api_key),
        loaded.model_dump_json(include={"model": {"api_key"}}),
    ):
        assert "sk-secret" not in shown
    assert loaded.model.api_key is not None
    assert loaded.model.api_key.get_secret_value() == "sk-secret"


def test_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CRUCIBLE_HOME", "here")
    monkeypatch.setenv("CRUCIBLE_CACHE", "~/there")
    paths = load_settings().paths
    assert paths.home == tmp_path / "work" / "here"
    assert paths.models == tmp_path / "home" / "there" / "models"
    assert paths.episodes == paths.home / "episodes"
    assert paths.runs == paths.home / "runs.sqlite"
    assert paths.logs == paths.home / "logs"
    assert not paths.home.exists()
    monkeypatch.delenv("CRUCIBLE_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert load_settings().paths.home == tmp_path / "data" / "crucible"


def test_settings_are_frozen_plain_data(monkeypatch: pytest.MonkeyPatch):
    loaded = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        loaded.cycles.samples = 9
    monkeypatch.setenv("CRUCIBLE_CYCLES__SAMPLES", "9")
    assert Settings.model_validate(dict(loaded)).cycles.samples == 4


def test_importing_costs_no_heavy_library():
    code = "import crucible.config, sys; crucible.config.load_settings(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "lancedb", "langgraph", "pyarrow", "numpy", "typer"} & set(loaded)
