"""Warnings of the libraries in use: for the log, not for the terminal."""

from __future__ import annotations

import logging

LIBRARIES = ("py.warnings", "transformers", "datasets", "peft", "trl", "accelerate", "torch")
"""Their loggers; py.warnings is Python's own for what `warnings.warn` says."""


def quiet_libraries() -> None:
    """Keep their warnings off standard error. A RunLog takes them."""
    logging.captureWarnings(True)
    for name in LIBRARIES:
        other = logging.getLogger(name)
        other.addHandler(logging.NullHandler())
        other.propagate = False
