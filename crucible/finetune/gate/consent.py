"""The one way to a person's yes: the controlling terminal, whatever stdin and stdout are.

What it cannot tell is a person from a program that runs as the same user and makes a terminal of its own.
"""

from __future__ import annotations

import termios
from pathlib import Path

from crucible.errors import RefusedError
from crucible.text import printable


def asked(question: str, answer: str) -> bool:
    """Return whether the person at the terminal typed `answer`. There is no other way in: no option, no variable, no pipe.

    Raises RefusedError where this process has no terminal."""
    try:
        with Path("/dev/tty").open("r+b", buffering=0) as terminal:
            termios.tcflush(terminal, termios.TCIFLUSH)  # what was typed before the question is no answer to it
            terminal.write(f"{printable(question)}\nType {answer} to agree, anything else to leave it: ".encode())
            said = b""
            while not said.endswith(b"\n"):
                if not (piece := terminal.read(1024)):
                    break
                said += piece
    except (OSError, termios.error) as error:
        raise RefusedError(
            "a change of the model's weights needs a person's yes, and there is no terminal to ask at"
        ) from error
    return said.decode("utf-8", "replace").strip() == answer
