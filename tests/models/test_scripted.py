"""The script's own rules; what every engine keeps is in tests/contracts/test_model.py."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from crucible.errors import EngineTimeoutError, InputError
from crucible.models.scripted import Rule, ScriptedModel
from crucible.types import Message, Sampling

SCHEMA = {
    "type": "object",
    "properties": {"cause": {"type": "string"}, "kind": {"enum": ["a", "b"]}, "lines": {"type": "array"}},
}


def ask(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def test_replies_come_in_order_and_the_last_is_repeated() -> None:
    model = ScriptedModel(["one", "two"])
    assert [drawn.text for drawn in model.generate(ask("x"), [Sampling()] * 3)] == ["one", "two", "two"]
    assert model.generate(ask("x"), [Sampling()])[0].text == "two"


def test_rules_answer_by_pattern_and_seed() -> None:
    model = ScriptedModel([Rule(match="(?i)double", replies=("n * 2", "n + n")), Rule(replies=("what?",))])
    draw = lambda text, seed: model.generate(ask(text), [Sampling(seed=seed)])[0].text  # noqa: E731
    assert [draw("Double it", seed) for seed in (0, 1, 2, 3)] == ["n * 2", "n + n", "n * 2", "n + n"]
    assert draw("triple it", 5) == "what?"


def test_the_last_user_message_counts() -> None:
    model = ScriptedModel([Rule(match="old", replies=("old",)), Rule(replies=("new",))])
    chat = [
        *ask("old"),
        Message(role="assistant", content="old"),
        *ask("fresh"),
        Message(role="assistant", content="old"),
    ]
    assert model.generate(chat, [Sampling()])[0].text == "new"


def test_without_a_matching_rule_the_script_is_wrong() -> None:
    with pytest.raises(InputError, match="no rule of the script matches 'y'"):
        ScriptedModel([Rule(match="x", replies=("x",))]).generate(ask("y"), [Sampling()])


def test_json_comes_from_the_rule_the_reply_or_the_schema() -> None:
    rules = [
        Rule(match="r", replies=("text",), json={"cause": "c"}),
        Rule(match="p", replies=('{"cause": "d"}',)),
        Rule(replies=("t",)),
    ]
    model = ScriptedModel(rules)
    drawn = [json.loads(model.generate(ask(text), [Sampling(json_schema=SCHEMA)])[0].text) for text in ("r", "p", "x")]
    assert drawn == [{"cause": "c"}, {"cause": "d"}, {"cause": "", "kind": "a", "lines": []}]


@pytest.mark.parametrize(
    "text", ['["one", "two"]', "- one\n- two\n", "- match: x\n  replies: [one]\n", '[{"replies": ["one"]}]']
)
def test_a_file_holds_texts_or_rules(tmp_path: Path, text: str) -> None:
    (tmp_path / "script").write_text(text)
    assert ScriptedModel.from_file(tmp_path / "script").generate(ask("x"), [Sampling()])[0].text == "one"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid YAML"),
        ("- 1\n", "texts or of rules"),
        ("- replies: []\n", "texts or of rules"),
        ("[]", "at least one"),
        ('[{"match": "(", "replies": ["x"]}]', "no regular expression"),
    ],
)
def test_a_bad_file_is_the_users_error(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "script").write_text(text)
    with pytest.raises(InputError, match=said):
        ScriptedModel.from_file(tmp_path / "script")


def test_a_missing_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        ScriptedModel.from_file(tmp_path / "none")


def test_slow_tokens_meet_the_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(EngineTimeoutError):
        ScriptedModel(["a b c d e f g h i j"], token_s=0.1).generate(ask("x"), [Sampling()], deadline_s=0.15)
    assert time.monotonic() - began < 1
