"""What a policy says of a finding of the static checks, by rule, rule family or module.

    {CR1: ask, CR106: deny, S: allow, socket: ask, urllib.request: deny}

A key of capitals and digits is a rule or the beginning of one; any other is a module and covers what lies in it. The
longest key that fits decides; where none does, the finding is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

Action = Literal["allow", "ask", "deny"]
"""allow: say it. ask: run the program only with a yes that covers it. deny: never run it."""

Key = Annotated[str, Field(max_length=200, pattern=r"^([A-Z]+[0-9]*|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)$")]
Policy = Mapping[str, Action]

STRICTNESS: tuple[Action, ...] = ("allow", "ask", "deny")
_RULE = re.compile(r"([A-Z]+)([0-9]*)")


def action_of(policy: Policy, name: str) -> Action:
    """Return what `policy` says of a rule (`CR301`) or a module (`urllib.request`)."""
    return next((policy[key] for key in _keys(name) if key in policy), "allow")


def strictest(*actions: Action) -> Action:
    return max(actions, key=STRICTNESS.index)


def loosens(policy: Policy, key: str, action: Action) -> bool:
    """Return whether setting `key` to `action` would let something through that `policy` holds back.

    What `key` covers and a longer key does not was decided by the longest key that `key` begins with: by what the policy
    says of `key` itself."""
    return STRICTNESS.index(action) < STRICTNESS.index(action_of(policy, key))


def _keys(name: str) -> Iterator[str]:
    """The keys that cover `name`, the longest first."""
    if rule := _RULE.fullmatch(name):
        letters, digits = rule.groups()
        return (letters + digits[:length] for length in range(len(digits), -1, -1))
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(len(parts), 0, -1))
