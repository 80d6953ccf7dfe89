"""Secrets are found and taken out; ordinary code and hostile text are not the worse for it."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.security.trust.secrets import redact, redacted

A36 = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nMIIEow"
    + "IBAAKCAQEA\n" * 20
    + "-----END RSA PRIVATE KEY-----"
)
# Put together here, so that no scanner takes this file for a leak. Each is a made-up value of the right shape.
SECRETS = {
    "aws": ("AKIA" + "IOSFODNN7EXAMPLE", "AWS"),
    "aws secret": ("wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY", "AWS|Assigned"),
    "github": ("ghp_" + A36, "GitHub"),
    "github fine-grained": ("github_pat_" + A36 + A36, "GitHub"),
    "gitlab": ("glpat-" + A36[:20], "GitLab"),
    "openai": ("sk-proj-" + A36 + "T3BlbkFJ" + A36, "OpenAI"),
    "anthropic": ("sk-ant-api03-" + A36, "Anthropic"),
    "hugging face": ("hf_" + A36[:34], "Hugging Face"),
    "google": ("AIza" + (A36 * 2)[:35], "Google"),
    "slack": ("xoxb-" + "123456789012-" * 2 + A36[:24], "Slack"),
    "stripe": ("sk_live_" + A36[:24], "Stripe"),
    "npm": ("npm_" + A36, "NPM"),
    "pypi": ("pypi-AgEIcHlwaS5vcmc" + A36 * 3, "PyPI"),
    "jwt": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0." + A36, "JSON Web Token"),
    "private key": (PEM, "Private Key"),
}


@pytest.mark.parametrize(("secret", "kind"), SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize(
    "around", ['aws_secret_key = "{}"', "Use {} for it.", "first line\nexport aws_secret_key='{}'\nlast"]
)
def test_secrets_are_taken_out_and_named(secret: str, kind: str, around: str) -> None:
    if kind == "AWS|Assigned" and "=" not in around:
        pytest.skip("forty letters in a sentence are no secret")
    text, found = redact(around.format(secret))
    assert secret not in text and secret.split("\n")[-1][8:24] not in text
    assert any(part in item.kind for item in found for part in kind.split("|"))
    assert found[0].line == around.split("{}")[0].count("\n") + 1
    assert f"[redacted: {found[0].kind}]" in text and text.startswith(around.split("{}")[0][:10])


def test_what_is_around_a_secret_stays() -> None:
    token = "ghp_" + A36
    assert redact(f"a {token} b {token}").text == "a [redacted: GitHub Token] b [redacted: GitHub Token]"


def test_a_password_in_an_address_goes() -> None:
    text = redact("psql postgres://bob:hunter2@db.example.org/x").text
    assert "hunter2" not in text and text.endswith("db.example.org/x")


def test_a_bearer_token_goes_and_its_header_stays() -> None:
    text = redact(f'headers = {{"Authorization": "Bearer {A36}"}}').text
    assert text == 'headers = {"Authorization": "Bearer [redacted: Bearer Token]"}'


@pytest.mark.parametrize(
    "text",
    [
        'password = "correct horse"',
        'assert is_strong("Tr0ub4dor&3xyz!")',
        'token = "<your token here>"',
        "api_key = os.environ['API_KEY']",
        'key = "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"',
        "http://localhost:8080/a@b",
        'f"https://{user}:{password}@{host}/"',
        "sha256 = '" + "0123456789abcdef" * 4 + "'",
        "def solve(n: int) -> dict[str, int]:\n    return {'a': n}",
        "sk-learn-compatible-estimators",
        "[redacted: GitHub Token]",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == (text, ())


def test_canonical_solutions_are_left_alone() -> None:
    data = Path(__file__).parents[4] / "shared" / "data" / "open" / "mbpp.jsonl.gz"
    if not data.exists():
        pytest.skip(f"no problem set at {data}")
    with gzip.open(data, "rt", encoding="utf-8") as lines:
        problems = [json.loads(line) for line in lines]
    assert len(problems) > 300
    changed = [problem["id"] for problem in problems if redacted(problem) != problem]
    assert changed == []


@given(st.text(max_size=300))
def test_redacting_again_changes_nothing(text: str) -> None:
    once = redact(text).text
    assert redact(once) == (once, ())


def test_every_text_of_a_document_is_redacted() -> None:
    token = "ghp_" + A36
    data = {"a": [token, 1, None, {token: (f"x {token}", 2.5)}], "b": True}
    mark = "[redacted: GitHub Token]"
    assert redacted(data) == {"a": [mark, 1, None, {mark: [f"x {mark}", 2.5]}], "b": True}


HOSTILE = [
    "://" * 40_000,
    "://a:" * 30_000,
    "a:" * 60_000,
    "sk-" * 40_000,
    "eyJ" * 40_000,
    "eyJaaaaaaaa.eyJ" * 8_000,
    "-----BEGIN PRIVATE KEY-----" * 4_000,
    "A" * 120_000,
    "api_key=" * 15_000,
    "api_key = '" * 12_000,
    "authorization: bearer " * 6_000,
    "xoxb-1-1-" * 14_000,
    "aws" * 40_000,
    "aws key '" * 14_000,
    " " * 120_000,
    "a_" * 60_000,
    "\n" * 120_000,
    "https://hooks.slack.com/services/T" * 4_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
def test_no_text_makes_it_slow(text: str) -> None:
    """Patterns that backtrack would take minutes over these; without, it is a tenth of a second."""
    began = time.process_time()
    redact(text[:120_000])
    assert time.process_time() - began < 15
