"""Programs that will not end, each judged: how long past its deadline each took, and whether any was rewarded.

    python -m benchmarks.sleepers [--count 200] [--seed 0]

Exits 1 where one outlived its deadline by more than a second, passed, or left a process.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time

import psutil

from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.probe import select_sandbox
from crucible.types import Limits, Task

LATE_S = 1.0
IGNORING = """import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
"""
SLEEPERS = {
    "sleep": "import time\ndef f(n):\n    time.sleep(3600)",
    "spin": "def f(n):\n    while True: pass",
    "ignores signals": IGNORING + "def f(n):\n    while True: pass",
    "spins in C": "def f(n):\n    return sum(range(10 ** 18))",
    "big power": "def f(n):\n    return len(str(9 ** (10 ** 8)))",
    "regular expression": "import re\ndef f(n):\n    return re.match('(a+)+$', 'a' * 60 + 'b')",
    "stops itself": "import os, signal\ndef f(n):\n    os.kill(os.getpid(), signal.SIGSTOP)",
    "waits for a lock": "import threading\ndef f(n):\n    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()",
    "reads for ever": "import os\ndef f(n):\n    read, write = os.pipe()\n    os.read(read, 1)",
    "a thread that stays": "import threading, time\ndef f(n):\n    threading.Thread(target=time.sleep, args=(3600,)).start()",
    "at import": "import time\ntime.sleep(3600)\ndef f(n):\n    return n",
    "at exit": "import atexit, time\natexit.register(time.sleep, 3600)\nraise SystemExit",
    "answers slowly": "import time\ndef f(n):\n    time.sleep(0.4)\n    return n",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)  # noqa: S311
    judge = SandboxJudge(select_sandbox())
    late: dict[str, list[float]] = {name: [] for name in SLEEPERS}
    rewarded = 0
    names = [list(SLEEPERS)[number % len(SLEEPERS)] for number in range(arguments.count)]
    for name in names:
        wall_s = draw.uniform(0.2, 0.8)
        limits = Limits(wall_s=wall_s, cpu_s=600, memory_mib=256)
        tests = "\n".join(f"assert f({n}) == {n}" for n in range(9))
        began = time.monotonic()
        verdict = judge.judge(SLEEPERS[name], Task(prompt="p", tests=tests, limits=limits))
        late[name].append(time.monotonic() - began - wall_s)
        rewarded += verdict.verdict == "pass"
    left = len(psutil.Process().children(recursive=True)) - 1  # the launcher stays for the next sandbox
    over = [delay for delays in late.values() for delay in delays]
    result = {
        "sleepers": len(over),
        "rewarded": rewarded,
        "late_s": {"median": round(statistics.median(over), 3), "max": round(max(over), 3)},
        "worst": {name: round(max(delays), 3) for name, delays in late.items() if delays},
        "processes_left": left,
    }
    print(json.dumps(result, indent=1))
    return 0 if not rewarded and not left and max(over) <= LATE_S else 1


if __name__ == "__main__":
    sys.exit(main())
