"""What a policy says of rules and modules, and who may loosen it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.config import default_policy, load_settings
from crucible.config.policy import STRICTNESS, Action, Policy, action_of, loosens, strictest
from crucible.errors import ConfigError
from crucible.languages.python.checks.finding import RULES

POLICY: Policy = {"CR": "ask", "CR1": "deny", "CR107": "allow", "S": "ask", "http": "allow", "http.client": "deny"}


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("CR107", "allow"),
        ("CR106", "deny"),
        ("CR301", "ask"),
        ("S301", "ask"),
        ("SIM101", "allow"),  # letters are taken whole: S is no beginning of SIM
        ("RUF001", "allow"),
        ("http", "allow"),
        ("http.client", "deny"),
        ("http.client.HTTPConnection", "deny"),
        ("http.server", "allow"),
        ("httpx", "allow"),
        ("xhttp.client", "allow"),
    ],
)
def test_the_longest_key_that_fits_decides(name: str, action: Action) -> None:
    assert action_of(POLICY, name) == action


def test_the_strictest_of_several_counts() -> None:
    assert strictest("allow", "deny", "ask") == "deny" and strictest("ask", "allow") == "ask"


def test_every_rule_of_the_packaged_policy_is_one() -> None:
    families = [key for key in default_policy() if key.startswith("CR")]
    assert all(any(rule.startswith(key) for rule in RULES) for key in families)


@pytest.mark.parametrize(
    ("key", "action", "looser"),
    [
        ("CR106", "allow", True),
        ("CR106", "ask", True),
        ("CR106", "deny", False),
        ("CR1", "ask", True),
        ("CR107", "ask", False),
        ("CR", "allow", True),
        ("CR9", "allow", True),
        ("http", "deny", False),
        ("http.client.x", "ask", True),
        ("numpy", "allow", False),
    ],
)
def test_less_than_what_was_said_is_looser(key: str, action: Action, looser: bool) -> None:
    assert loosens(POLICY, key, action) == looser


KEYS = st.from_regex(r"(A[0-1]{0,3}|a(\.[ab]){0,2})", fullmatch=True)
ACTIONS = st.sampled_from(STRICTNESS)


@given(st.dictionaries(KEYS, ACTIONS, max_size=6), KEYS, ACTIONS, KEYS)
def test_what_does_not_loosen_lets_nothing_more_through(policy: Policy, key: str, action: Action, name: str) -> None:
    before, after = action_of(policy, name), action_of({**policy, key: action}, name)
    if not loosens(policy, key, action):
        assert STRICTNESS.index(after) >= STRICTNESS.index(before)


# ------------------------------------------------------------- in settings


def in_file(folder: Path, policy: str) -> Path:
    path = folder / "crucible.yaml"
    path.write_text(f"tools: {{policy: {{{policy}}}}}\n")
    return path


@pytest.mark.parametrize(
    "policy", ["CR106: ask", "CR1: allow", "CR401: allow", "socket: allow", "urllib.request.x: allow"]
)
def test_a_projects_file_cannot_loosen_the_policy(tmp_path: Path, policy: str) -> None:
    path = in_file(tmp_path, policy)
    key = policy.partition(":")[0]
    with pytest.raises(ConfigError, match=rf"crucible\.yaml:1:\d+: tools\.policy\.{key}: .* stricter, not looser"):
        load_settings(project_dir=tmp_path)
    assert load_settings(config_file=path).tools.policy[key] in ("ask", "allow")  # given by its user, it may


def test_a_projects_file_may_make_the_policy_stricter(tmp_path: Path) -> None:
    in_file(tmp_path, "CR402: deny, os: ask, socket: deny")
    policy = load_settings(project_dir=tmp_path).tools.policy
    assert [policy[key] for key in ("CR402", "os", "socket")] == ["deny", "ask", "deny"]
    assert policy["ctypes"] == "ask"  # what it does not name stays


def test_a_projects_file_cannot_undo_what_the_user_made_stricter(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text("tools: {policy: {CR402: deny}}\n")
    in_file(tmp_path, "CR402: ask")  # as packaged, and looser than what counts
    with pytest.raises(ConfigError, match="stricter, not looser"):
        load_settings(project_dir=tmp_path)


@pytest.mark.parametrize(
    ("line", "looser"), [("warning: auto", True), ("error: auto", True), ("warning: never", False)]
)
def test_a_projects_file_cannot_give_the_yes_to_findings(tmp_path: Path, line: str, looser: bool) -> None:
    (tmp_path / "crucible.yaml").write_text(f"cycles: {{approve_findings: {{{line}}}}}\n")
    if looser:
        with pytest.raises(ConfigError, match=r"cycles\.approve_findings\.\w+: .* stricter, not looser"):
            load_settings(project_dir=tmp_path)
    else:
        assert load_settings(project_dir=tmp_path).cycles.approval_of("warning") == "never"


def test_the_environment_adds_to_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUCIBLE_TOOLS__POLICY", "{ctypes: deny, CR402: allow}")
    policy = load_settings().tools.policy
    assert (policy["ctypes"], policy["CR402"], policy["socket"]) == ("deny", "allow", "ask")


@pytest.mark.parametrize("policy", ["CR402: maybe", "'../x': deny", "cr-1: deny", "'': deny"])
def test_keys_and_actions_that_mean_nothing_are_refused(tmp_path: Path, policy: str) -> None:
    with pytest.raises(ConfigError, match=r"crucible\.yaml:1"):
        load_settings(config_file=in_file(tmp_path, policy))
