"""What the sandbox really holds on this machine, as a canary program in it observes.

A tier is named from this, never from what is installed. The canary tries what a hostile candidate would; whatever it
reports as done counts as a broken promise.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from crucible.errors import SandboxUnavailableError
from crucible.security.base import Execution, Profile, Sandbox, Tier
from crucible.security.sandbox.tiers import BubblewrapSandbox, LandlockSandbox
from crucible.types import Frozen, Limits

CANARY = """
import json, os, sys
secret_path, port, marker, parent = json.loads(sys.stdin.readline())
found = {}
def attempt(name, work):
    try:
        result = work()
        found[name] = ["done", repr(result)[:80]]
    except BaseException as error:
        found[name] = ["stopped", type(error).__name__]
def connect():
    import socket
    return socket.create_connection(("127.0.0.1", port), 0.5)
def fork():
    if os.fork() == 0:
        os._exit(0)
    return "forked"
def execute():
    try:
        os.execv("/no/such/program", ["x"])
    except FileNotFoundError:
        return "the kernel looked for it"
attempt("read_host_file", lambda: open(secret_path).read())
attempt("read_passwords", lambda: open("/etc/shadow").read())
attempt("write_outside", lambda: open("/usr/crucible-canary", "w"))
attempt("write_root", lambda: open("/crucible-canary", "w"))
attempt("write_shared_memory", lambda: open("/dev/shm/crucible-canary", "w"))
attempt("connect_loopback", connect)
attempt("start_process", fork)
attempt("run_program", execute)
attempt("see_processes", lambda: os.listdir("/proc/1"))
attempt("memory_file", lambda: os.memfd_create("x"))
attempt("become_root", lambda: os.setuid(0))
attempt("see_environment", lambda: [value for value in os.environ.values() if marker in value][0])
attempt("inherit_descriptor", lambda: [fd for fd in range(3, 256) if os.path.exists("/dev/fd/%d" % fd) or not os.fstat(fd)][0])
attempt("signal_outside", lambda: os.kill(parent, 0))
attempt("work", lambda: open("note", "w").write("x"))
print(json.dumps(found))
"""
MEMORY = "print(len(bytearray(400 << 20)))"
DISK = """
for number in range(512):
    with open(str(number), "wb") as file:
        file.write(bytes(1 << 20))
print("512 MiB")
"""
SHARED_MEMORY = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        data = bytearray(100 << 20)
        time.sleep(1)
        os.write(1, b"x")
        os._exit(0)
for _ in range(6):
    os.wait()
"""
PROCESSES = """
import os, time
made = 0
try:
    while made < 300:
        if os.fork() == 0:
            time.sleep(1)
            os._exit(0)
        made += 1
except OSError:
    pass
print(made)
"""

LIMITS = Limits(wall_s=10, cpu_s=10, memory_mib=256, disk_mib=8)
SPIN = Limits(wall_s=0.1, cpu_s=10.0)

_PROMISES = {
    "read_host_file": "a file of another folder cannot be read",
    "read_passwords": "/etc/shadow cannot be read",
    "write_outside": "/usr cannot be written",
    "write_root": "the root folder cannot be written",
    "write_shared_memory": "/dev/shm cannot be written",  # noqa: S108
    "connect_loopback": "no connection to this machine's own services",
    "start_process": "no new process",
    "run_program": "no other program",
    "see_processes": "no /proc",
    "memory_file": "no file in memory",
    "become_root": "no other user",
    "see_environment": "our environment is not inherited",
    "inherit_descriptor": "no descriptor of ours is left open",
    "signal_outside": "no signal to a process of this machine",
}
_ALLOWED_IN_PROJECTS = ("start_process", "run_program", "write_shared_memory")


class Property(Frozen):
    """One promise, whether it held, and what was seen."""

    name: str
    description: str
    held: bool
    observed: str


class ProbeReport(Frozen):
    """tier: the sandbox's where every promise held, else "C" (refuse)."""

    tier: str
    profile: Profile
    properties: tuple[Property, ...]

    @property
    def ok(self) -> bool:
        return all(item.held for item in self.properties)


def observe(sandbox: Sandbox) -> ProbeReport:
    """Run the canaries. Takes about a second.

    Raises SandboxUnavailableError where the sandbox cannot even start."""
    found, done = _canary(sandbox)
    works = found.get("work", ["", ""])[0] == "done"
    said = "as expected" if works else f"{done.status}: {done.stderr.strip()[-120:]}"
    properties = [Property(name="honest_work", description="an honest program works", held=works, observed=said)]
    for name, description in _PROMISES.items():
        if sandbox.profile == "function" or name not in _ALLOWED_IN_PROJECTS:
            outcome, detail = found.get(name, ["unknown", "the canary did not get there"])
            seen = f"{description}: {outcome} ({detail})"
            properties.append(Property(name=name, description=description, held=outcome == "stopped", observed=seen))
    properties += _limits(sandbox)
    held = all(item.held for item in properties)
    return ProbeReport(tier=sandbox.tier if held else "C", profile=sandbox.profile, properties=tuple(properties))


def _canary(sandbox: Sandbox) -> tuple[dict[str, list[str]], Execution]:
    marker = secrets.token_hex(8)
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        secret = Path(folder) / "secret.txt"
        secret.write_text(marker)
        secret.chmod(0o644)
        Path(folder).chmod(0o755)
        os.environ["CRUCIBLE_PROBE_MARKER"] = marker  # must not be seen inside; set for this process's children only
        try:
            given = json.dumps([str(secret), server.getsockname()[1], marker, os.getpid()])
            done = sandbox.run(CANARY, stdin=given + "\n", limits=LIMITS)
        finally:
            del os.environ["CRUCIBLE_PROBE_MARKER"]
    found: dict[str, list[str]] = json.loads(done.stdout) if done.status == "ok" else {}
    return found, done


def _limits(sandbox: Sandbox) -> Iterator[Property]:
    def seen(name: str, description: str, held: bool, done: Execution) -> Property:
        said = f"{description}: {done.status} after {done.wall_s:.1f} s"
        return Property(name=name, description=description, held=held, observed=said)

    done = sandbox.run("while True: pass", limits=SPIN)
    ended = done.status == "timeout" and done.wall_s < SPIN.wall_s + 3
    yield seen("time_limit", "a program that does not end is ended", ended, done)
    done = sandbox.run(DISK, limits=LIMITS)
    yield seen("disk_beyond_limit", "disk space is limited", "MiB" not in done.stdout, done)
    done = sandbox.run(MEMORY, limits=LIMITS)
    yield seen("memory_beyond_limit", "memory is limited", not done.stdout, done)
    if sandbox.profile == "project":
        done = sandbox.run(SHARED_MEMORY, limits=LIMITS)
        yield seen("memory_of_all", "memory of all processes together is limited", len(done.stdout) < 3, done)
        done = sandbox.run(PROCESSES, limits=LIMITS)
        yield seen("processes", "the number of processes is limited", int(done.stdout or 0) <= 64, done)


Choice = Tier | Literal["auto"]
_selecting = threading.Lock()


def select_sandbox(tier: Choice = "auto", profile: Profile = "function") -> Sandbox:
    """A sandbox that was observed to hold, found once a process. `tier` as for `sandboxes`.

    Raises SandboxUnavailableError with what is missing; there is no unsafe fall-back."""
    with _selecting:
        return _selected(tier, profile)


def sandboxes(tier: Choice, profile: Profile) -> Iterator[Sandbox]:
    """The sandboxes to try, strongest first.

    auto: tier A; where user namespaces are missing, tier B. A missing bubblewrap is no reason for the weaker tier: it is
    one command away. Raises SandboxUnavailableError where a part is missing."""
    if tier == "B" and profile == "project":
        raise SandboxUnavailableError("the project profile needs tier A: tier B cannot bound several processes")
    if tier in ("auto", "A"):
        yield BubblewrapSandbox(profile)
    if tier in ("auto", "B") and profile == "function":
        yield LandlockSandbox()


@cache
def _selected(tier: Choice, profile: Profile) -> Sandbox:
    problems: list[str] = []
    for sandbox in sandboxes(tier, profile):
        try:
            report = observe(sandbox)
        except SandboxUnavailableError as error:
            problems.append(f"tier {sandbox.tier}: {error}")
            continue
        if report.ok:
            return sandbox
        broken = ", ".join(item.name for item in report.properties if not item.held)
        problems.append(f"tier {sandbox.tier}: {broken} not held")
    reasons = "; ".join(problems)
    raise SandboxUnavailableError(
        f"no isolating sandbox works on this machine: {reasons}{_advice()}; details: crucible sandbox check"
    )


def _advice() -> str:
    """The usual reason, where the kernel's settings show it."""
    for path, blocked in (
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ):
        place = Path(path)
        if place.is_file() and place.read_text().strip() == blocked:
            name = ".".join(place.parts[3:])
            value = "0" if blocked == "1" else "1" if "clone" in path else "10000"
            return f". User namespaces are switched off here; allow them with: sysctl -w {name}={value}"
    return ""
