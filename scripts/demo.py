"""`make demo`: fetch the model, solve a task with it in the sandbox, and find the episode again.

Everything it does is a command a user can type; each is shown before it runs. Episodes of the demo go to .demo/ in
this folder, so that your own memory stays as it is; the model goes to the cache that all runs share.
Another task: make demo TASK=path/to/task.yaml
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRUCIBLE = [sys.executable, str(ROOT / "main.py")]
MODEL = "qwen2.5-coder-1.5b"
TASK = os.environ.get("TASK", "examples/tasks/roman-numerals.yaml")
SEARCH = "turn ancient numerals into numbers"


def show(*arguments: str) -> None:
    """Run a command in the foreground, its output as the user would see it; stop the demo if it fails."""
    print(f"\n$ crucible {' '.join(arguments)}", flush=True)
    done = subprocess.run([*CRUCIBLE, *arguments], cwd=ROOT, env=environment(), check=False)
    if done.returncode:
        sys.exit(f"demo: `crucible {' '.join(arguments)}` ended with exit code {done.returncode}")


def captured(*arguments: str) -> str:
    """As `show`, and return what the command printed."""
    print(f"\n$ crucible {' '.join(arguments)}", flush=True)
    done = subprocess.run(
        [*CRUCIBLE, *arguments], cwd=ROOT, env=environment(), check=True, stdout=subprocess.PIPE, text=True
    )
    print(done.stdout, end="", flush=True)
    return done.stdout


def environment() -> dict[str, str]:
    return {**os.environ, "CRUCIBLE_HOME": str(ROOT / ".demo")}


def main() -> None:
    began = time.monotonic()
    show("models", "pull", MODEL)
    out = ROOT / ".demo" / "solution.py"
    out.parent.mkdir(exist_ok=True)
    show("solve", TASK, "--model", MODEL, "--approve", "auto", "--out", str(out))
    print(f"\n$ cat {out.relative_to(ROOT)}\n{out.read_text()}")
    title = Path(TASK).stem if "TASK" in os.environ else SEARCH
    found = captured("memory", "search", title, "-k", "1", "--solved")
    if out.read_text().splitlines()[0].strip() not in found:
        sys.exit("demo: the solved episode was not found again in memory")
    print(f"\ndemo: solved, verified in the sandbox, and found again in memory, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
