"""A target with a planted bug, five right bytes deep: chance finds it once in 2**40 inputs, who sees branches soon."""

from __future__ import annotations

from tests.fuzz.target import Target


def fall(data: bytes) -> None:
    for at, byte in enumerate(b"crash"):
        if data[at : at + 1] != bytes([byte]):
            return
    raise ZeroDivisionError("planted")


TARGET = Target(fall, seeds=[b"....."], words=[], max_len=16)
