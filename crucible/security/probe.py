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
from functools import cache
from pathlib import Path

from crucible.errors import SandboxUnavailableError
from crucible.security.sandbox import BubblewrapSandbox
from crucible.types import Frozen, Limits

CANARY = """
import json, os, sys
secret_path, port, marker = json.loads(sys.stdin.readline())
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
attempt("read_host_file", lambda: open(secret_path).read())
attempt("read_passwords", lambda: open("/etc/shadow").read())
attempt("write_outside", lambda: open("/usr/crucible-canary", "w"))
attempt("write_root", lambda: open("/crucible-canary", "w"))
attempt("write_shared_memory", lambda: open("/dev/shm/crucible-canary", "w"))
attempt("connect_loopback", connect)
attempt("start_process", fork)
attempt("run_program", lambda: os.execv("/usr/bin/true", ["true"]))
attempt("see_processes", lambda: os.listdir("/proc/1"))
attempt("memory_file", lambda: os.memfd_create("x"))
attempt("become_root", lambda: os.setuid(0))
attempt("see_environment", lambda: [value for value in os.environ.values() if marker in value][0])
attempt("inherit_descriptor", lambda: [fd for fd in range(3, 256) if os.path.exists("/dev/fd/%d" % fd) or not os.fstat(fd)][0])
attempt("memory_beyond_limit", lambda: len(bytearray(400 << 20)))
def fill():
    with open("fill", "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    return "64 MiB"
attempt("disk_beyond_limit", fill)
attempt("work", lambda: open("note", "w").write("x"))
print(json.dumps(found))
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
    "memory_beyond_limit": "memory is limited",
    "disk_beyond_limit": "disk space is limited",
}


class Property(Frozen):
    """One promise, whether it held, and what was seen."""

    name: str
    description: str
    held: bool
    observed: str


class ProbeReport(Frozen):
    """tier: "A" where every promise held, else "C" (refuse)."""

    tier: str
    properties: tuple[Property, ...]

    @property
    def ok(self) -> bool:
        return all(item.held for item in self.properties)


def observe(sandbox: BubblewrapSandbox) -> ProbeReport:
    """Run the canary. Takes under a second.

    Raises SandboxUnavailableError where the sandbox cannot even start."""
    marker = secrets.token_hex(8)
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        secret = Path(folder) / "secret.txt"
        secret.write_text(marker)
        secret.chmod(0o644)
        Path(folder).chmod(0o755)
        os.environ["CRUCIBLE_PROBE_MARKER"] = marker  # must not be seen inside; set for this process's children only
        try:
            given = json.dumps([str(secret), server.getsockname()[1], marker])
            done = sandbox.run(CANARY, stdin=given + "\n", limits=LIMITS)
        finally:
            del os.environ["CRUCIBLE_PROBE_MARKER"]
    found: dict[str, list[str]] = json.loads(done.stdout) if done.status == "ok" else {}
    properties = [_property(name, description, found) for name, description in _PROMISES.items()]
    works = found.get("work", ["", ""])[0] == "done"
    said = "as expected" if works else f"{done.status}: {done.stderr.strip()[-120:]}"
    properties.insert(0, Property(name="honest_work", description="an honest program works", held=works, observed=said))
    properties.append(_ends(sandbox))
    held = all(item.held for item in properties)
    return ProbeReport(tier=sandbox.tier if held else "C", properties=tuple(properties))


def _property(name: str, description: str, found: dict[str, list[str]]) -> Property:
    outcome, detail = found.get(name, ["unknown", "the canary did not get there"])
    return Property(
        name=name, description=description, held=outcome == "stopped", observed=f"{description}: {outcome} ({detail})"
    )


def _ends(sandbox: BubblewrapSandbox) -> Property:
    done = sandbox.run("while True: pass", limits=SPIN)
    held = done.status == "timeout" and done.wall_s < SPIN.wall_s + 3
    return Property(
        name="time_limit",
        description="a program that does not end is ended",
        held=held,
        observed=f"a program that does not end is ended: {done.status} after {done.wall_s:.1f} s",
    )


_selecting = threading.Lock()


def select_sandbox() -> BubblewrapSandbox:
    """A sandbox that was observed to hold, found once a process.

    Raises SandboxUnavailableError with what is missing; there is no unsafe fall-back."""
    with _selecting:
        return _selected()


@cache
def _selected() -> BubblewrapSandbox:
    sandbox = BubblewrapSandbox()
    try:
        report = observe(sandbox)
    except SandboxUnavailableError as error:
        raise SandboxUnavailableError(f"{error}{_advice()}") from error
    if not report.ok:
        broken = ", ".join(item.name for item in report.properties if not item.held)
        raise SandboxUnavailableError(
            f"no isolating sandbox works on this machine: {broken} not held{_advice()}; details: crucible sandbox check"
        )
    return sandbox


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
