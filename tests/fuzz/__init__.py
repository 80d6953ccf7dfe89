"""Coverage-guided fuzzing of what reads hostile bytes, with atheris (libFuzzer): `pip install -e .[fuzz]`.

    python -m tests.fuzz wire --seconds 600          the wire format and the framing of a session
    python -m tests.fuzz validator --seconds 600     the static checks
    python -m tests.fuzz wire --replay FILE          once more what a run has found

A target is a module of this package with a `TARGET`.
"""

from __future__ import annotations

TARGETS: dict[str, tuple[str, ...]] = {
    "wire": ("crucible.security.sandbox.wire", "crucible.security.sandbox.session"),
    "validator": ("crucible.security.validator", "crucible.languages.python.checks"),
    "toy": ("tests.fuzz.toy",),
}
"""By target, the modules whose branches guide the search."""
