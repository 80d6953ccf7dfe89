"""When the next proposal is due: after so many new verified episodes, or so long after the last proposal. For a timer that
asks often; nothing of it trains."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from crucible.errors import InputError
from crucible.types import Frozen

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_PART = re.compile(r"([0-9]{1,6})([hdw]?)")


class When(Frozen):
    """Due as soon as one of the two is reached, and something is new."""

    episodes: int | None = None
    """That data would be taken from and no proposal took it from before."""
    after: timedelta | None = None

    @classmethod
    def parse(cls, text: str) -> When:
        """`50` for episodes, `12h`, `7d`, `2w` for a time; both with a comma between. Raises InputError."""
        found: dict[str, int | timedelta] = {}
        for part in text.split(","):
            match = _PART.fullmatch(part.strip())
            name = "after" if match and match[2] else "episodes"
            if match is None or not int(match[1]) or name in found:
                raise InputError(f"--when {text!r} is not understood; say for instance 50 (episodes), 7d, or 50,7d")
            found[name] = int(match[1]) * _UNITS[match[2]] if match[2] else int(match[1])
        return cls(**found)

    def not_yet(self, new: int, last: datetime | None, now: datetime) -> str:
        """Return what is missing; nothing where it is due. new: episodes; last: when the last proposal was made."""
        if not new:
            return "there is no new verified episode"
        missing = []
        if self.episodes is not None:
            if new >= self.episodes:
                return ""
            missing.append(f"{new} of {self.episodes} new verified episodes")
        if self.after is not None:
            if last is None or now - last >= self.after:
                return ""
            missing.append(f"the last proposal was made {_said(now - last)} ago, not {_said(self.after)}")
        return ", and ".join(missing)


def _said(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours / 24:.3g} days" if hours >= 48 else f"{hours:.3g} hours"
