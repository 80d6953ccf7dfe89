"""A process that adds episodes and prints each one's id once it is stored: `writer.py STORE FIRST COUNT`."""

from __future__ import annotations

import sys
from pathlib import Path

from crucible.memory import MemoryStore
from tests.memory.episodes import HashEncoder, episode

if __name__ == "__main__":
    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    store = MemoryStore(folder, HashEncoder())
    for number in range(first, first + count):
        store.add(episode(f"e{number}", f"task {number}", code=f"x = {number}\n" * 200))
        print(f"e{number}", flush=True)
