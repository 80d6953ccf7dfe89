"""Finding credentials in text and taking them out, before the text is stored, logged or sent to another machine.

Known forms only: tokens that their issuers gave a recognisable shape (most by detect-secrets' detectors), private keys,
passwords in addresses, and values assigned to a name such as `api_key`. Detectors that go by entropy or by the word
"password" are left out: in code they take ordinary strings for secrets. A password in a sentence is therefore not found.

Every pattern's cost is linear in the text, whatever the text holds.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from crucible.types import Frozen

# Of detect-secrets, the detectors whose patterns cannot be made to backtrack; the rest is replaced by `_OWN`.
_DETECTORS = {
    "aws": "AWSKeyDetector",
    "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "mailchimp": "MailchimpDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "twilio": "TwilioKeyDetector",
}
_OWN = {
    "Private Key": r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----)[\s\S]){0,16384}(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?",
    "JSON Web Token": r"\beyJ[\w-]{8,4096}\.eyJ[\w-]{4,8192}\.[\w-]{0,4096}",
    "OpenAI or Anthropic Key": r"\bsk-(?=[\w-]{0,200}\d)[\w-]{20,256}",
    "Hugging Face Token": r"\bhf_[A-Za-z0-9]{30,64}\b",
    "Google API Key": r"\bAIza[\w-]{35}",
    "GitHub Token": r"\bgithub_pat_\w{40,128}",
    "NPM Token": r"\bnpm_[A-Za-z0-9]{36}\b|:_authToken=[^\s$]{8,512}",
    "Telegram Bot Token": r"\b\d{8,10}:[\w-]{35}\b",
    "Azure Storage Key": r"\bAccountKey=[A-Za-z0-9+/]{40,128}={0,2}",
    "Basic Auth Credentials": r"://[^\s/:@{}<>'\"]{1,64}:[^\s/:@{}<>'\"]{1,128}@(?=[\w\[])",
    "Bearer Token": r"(?i:\bauthorization['\"]?\s{0,4}[:=]\s{0,4}['\"]?(?:bearer|token|basic)\s{1,4})([\w.+/=~-]{16,4096})",
    # Letters and digits both, so that a name, a word or a place-holder is not taken for a key.
    "Assigned Key": r"(?i:\b\w{0,40}(?:api|secret|access|auth|private|signing|encryption|client)_?-?(?:key|token|secret)"
    r"['\"]?\s{0,4}[:=]\s{0,4}['\"])"
    r"((?=[^'\"]{0,200}\d)(?=[^'\"]{0,200}[A-Za-z])[\w.+/=~-]{16,200})(?=['\"])",
}
_GENERIC = ("Assigned Key", "Bearer Token")
"""Kinds that give way to a more telling one for the same text."""

REDACTED = "[redacted: "
"""How what stands in a secret's place begins."""
MIN_GROUP = 16
"""A pattern's group as long as this is the secret itself; a shorter one is part of it, and the whole match is taken."""


class Secret(Frozen):
    """One secret that was found: what it is and where, never the secret itself."""

    kind: str
    line: int


class Redaction(NamedTuple):
    text: str
    found: tuple[Secret, ...]


def redact(text: str) -> Redaction:
    """`text` with every secret replaced by `[redacted: kind]`, and what was found. Redacting again changes nothing."""
    spans = [(*_span(match), kind) for kind, pattern in _patterns() for match in pattern.finditer(text)]
    spans.sort(key=lambda span: (span[0], span[2] in _GENERIC, -span[1]))
    kept: list[str] = []
    found: list[Secret] = []
    end = 0
    for start, stop, kind in spans:
        if start >= end:
            kept += [text[end:start], f"{REDACTED}{kind}]"]
            found.append(Secret(kind=kind, line=text.count("\n", 0, start) + 1))
        end = max(end, stop)
    return Redaction("".join([*kept, text[end:]]), tuple(found)) if found else Redaction(text, ())


def redacted(value: Any) -> Any:  # noqa: ANN401
    """JSON-ready `value` with every text in it redacted, keys too."""
    if isinstance(value, str):
        return redact(value).text
    if isinstance(value, dict):
        return {redacted(key): redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value


def _span(match: re.Match[str]) -> tuple[int, int]:
    group = max(range(len(match.groups()) + 1), key=lambda number: (number > 0) * len(match[number] or ""))
    return match.span(group if len(match[group]) >= MIN_GROUP else 0)


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Kinds and patterns; detect-secrets is imported here, on first use."""
    from importlib import import_module

    found = [(kind, re.compile(pattern)) for kind, pattern in _OWN.items()]
    for module, name in _DETECTORS.items():
        detector = getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
        found += [(detector.secret_type, pattern) for pattern in detector.denylist]
    return tuple(found)
