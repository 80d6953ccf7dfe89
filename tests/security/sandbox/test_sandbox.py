"""The sandbox, attacked: one program, one property. Every program here is harmless if it gets through."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from crucible.errors import SandboxUnavailableError
from crucible.security.base import Sandbox
from crucible.security.sandbox import seccomp
from crucible.security.sandbox.probe import observe, select_sandbox
from crucible.security.sandbox.tiers import BubblewrapSandbox
from crucible.types import Limits

pytestmark = pytest.mark.sandbox
SHORT = Limits(wall_s=2, cpu_s=2, memory_mib=256)


@pytest.fixture(scope="module", params=["A", "B"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    try:
        return select_sandbox(request.param)
    except SandboxUnavailableError as error:
        pytest.skip(f"tier {request.param}: {error}")


BLOCKED = {
    "a host file": "open({secret!r}).read()",
    "a symbolic link to a host file": "os.symlink({secret!r}, 'ln') or open('ln').read()",
    "the shadow file": "open('/etc/shadow').read()",
    "the password file": "open('/etc/passwd').read()",
    "the first process's environment": "open('/proc/1/environ').read()",
    "the first process's arguments": "open('/proc/1/cmdline').read()",
    "the home folder": "os.listdir(os.path.expanduser('~root') + '/.ssh')",
    "writing /usr": "open('/usr/x', 'w')",
    "writing the root": "open('/x', 'w')",
    "writing /dev": "open('/dev/x', 'w')",
    "writing /dev/shm": "open('/dev/shm/x', 'w')",
    "a disk device": "os.open('/dev/vda', os.O_RDONLY)",
    "kernel memory": "os.open('/dev/mem', os.O_RDONLY)",
    "fork": "os.fork()",
    "posix_spawn": "os.posix_spawn('/usr/bin/true', ['true'], {{}})",
    "exec": "os.execv('/usr/bin/true', ['true'])",
    "subprocess": "__import__('subprocess').run(['/usr/bin/true'])",
    "a TCP socket": "socket.socket()",
    "a UNIX socket": "socket.socket(socket.AF_UNIX)",
    "a VSOCK socket": "socket.socket(40, socket.SOCK_STREAM)",
    "a netlink socket": "socket.socket(16, socket.SOCK_RAW, 0)",
    "an internet socket pair": "socket.socketpair(socket.AF_INET)",
    "a memory file": "os.memfd_create('x')",
    "a pidfd": "os.pidfd_open(1)",
    "user namespaces": "libc_call('unshare', 0x10000000)",
    "mount": "libc_call('mount', None, b'/work', b'tmpfs', 0, None)",
    "chroot": "os.chroot('/work')",
    "ptrace": "libc_call('ptrace', 16, 1, 0, 0)",
    "SysV shared memory": "libc_call('shmget', 0x1234, 4096, 0o1666)",
    "message queues": "libc_call('msgget', 0x1234, 0o1666)",
    "personality": "libc_call('personality', 0x0040000)",
    "the keyring": "libc_call('syscall', 250, 0, -3, 0)",
    "io_uring": "libc_call('syscall', 425, 8, 0)",
    "bpf": "libc_call('syscall', 321, 0, 0, 0)",
    "clone3": "libc_call('syscall', 435, 0, 0)",
    "becoming root": "os.setuid(0)",
    "joining root's group": "os.setgroups([0])",
    "raising a limit": "__import__('resource').setrlimit(__import__('resource').RLIMIT_AS, (1 << 40, 1 << 40))",
    "leaving a core": "__import__('resource').getrlimit(__import__('resource').RLIMIT_CORE)[0] or 1 / 0",
    "an inherited descriptor": "[os.fstat(fd) for fd in range(3, 200)]",
    "our environment": "os.environ['CRUCIBLE_SECRET_TOKEN']",
    "more disk": "open('fill', 'wb').write(bytes(100 << 20))",
    "more memory": "len(bytearray(400 << 20))",
}

HARNESS = """
import ctypes, os, socket, sys
def libc_call(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)
try:
    {attempt}
except BaseException as error:
    print("BLOCKED", type(error).__name__)
else:
    print("THROUGH")
"""


@pytest.mark.parametrize("attempt", BLOCKED.values(), ids=BLOCKED)
def test_what_a_program_cannot_do(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempt: str
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    monkeypatch.setenv("CRUCIBLE_SECRET_TOKEN", "secret")
    done = sandbox.run(HARNESS.format(attempt=attempt.format(secret=str(secret))), limits=SHORT)
    assert done.stdout.startswith("BLOCKED"), (done.stdout, done.stderr)


WORKS = {
    "printing": "print('FINE')",
    "unicode": "print('FINE äß漢🙂')",
    "a file": "open('note', 'w').write('FINE'); print(open('note').read())",
    "a temporary file": "import tempfile; f = tempfile.TemporaryFile('w+'); f.write('x'); print('FINE')",
    "threads": "import threading; t = threading.Thread(target=print, args=('FINE',)); t.start(); t.join()",
    "asyncio": "import asyncio; asyncio.run(asyncio.sleep(0.01)); print('FINE')",
    "200 MiB": "len(bytearray(200 << 20)); print('FINE')",
    "the standard library": "import json, re, decimal, datetime, collections, itertools, random, hashlib; print('FINE')",
    "recursion": "f = lambda n: n and f(n - 1); f(900); print('FINE')",
    "dataclasses": "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint('FINE', A(1))",
    "__main__": "if __name__ == '__main__': print('FINE')",
}


@pytest.mark.parametrize("program", WORKS.values(), ids=WORKS)
def test_what_an_honest_program_can_do(sandbox: Sandbox, program: str) -> None:
    done = sandbox.run(program)
    assert done.status == "ok" and done.stdout.startswith("FINE"), done.stderr


def test_standard_input_arrives(sandbox: Sandbox) -> None:
    assert sandbox.run("print(input()[::-1])", stdin="häll\n").stdout == "lläh\n"


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("while True: pass", "timeout"),
        ("import time; time.sleep(60)", "timeout"),
        ("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass", "timeout"),
        ("while True: print('x' * 100000)", "output_limit"),
        ("raise SystemExit(3)", "error"),
        ("1 / 0", "error"),
        ("import os; os.kill(os.getpid(), 9)", "killed"),
        ("import os; os.abort()", "killed"),
        ("import threading\nwhile True: threading.Thread(target=threading.Event().wait, daemon=True).start()", "error"),
    ],
)
def test_every_end_has_its_name(sandbox: Sandbox, program: str, status: str) -> None:
    done = sandbox.run(program, limits=SHORT)
    assert done.status == status
    assert done.wall_s < 5 and len(done.stdout) <= SHORT.output_bytes


def test_output_that_is_held_open_is_not_waited_for(sandbox: Sandbox) -> None:
    program = (
        "import threading, time, os\nthreading.Thread(target=time.sleep, args=(60,)).start()\nprint('x')\nos._exit(0)"
    )
    assert sandbox.run(program, limits=SHORT).wall_s < 1.9


def test_nothing_is_left_behind(sandbox: Sandbox) -> None:
    before = {process.pid for process in psutil.process_iter()}
    for program in ("while True: pass", "print(1)", "import os; os.abort()"):
        sandbox.run(program, limits=Limits(wall_s=0.3))
    left = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
    assert left == []


def test_a_program_sees_the_same_little_everywhere() -> None:
    sandbox = select_sandbox("A")
    done = sandbox.run("import os; print(*sorted(os.listdir('/')), os.getuid() != 0, os.getpid())")
    listed = done.stdout.split()
    assert {"usr", "work", "dev"} <= set(listed) and "proc" not in listed and "etc" not in listed
    assert listed[-2] == "True" and int(listed[-1]) < 5


def test_the_launcher_is_not_told_our_secrets(sandbox: Sandbox) -> None:
    assert sandbox.run("import os; print(dict(os.environ))").stdout.count("CRUCIBLE") == 0


HOLDING_FILES = """
import os, resource, sys
from crucible.security.sandbox.tiers import BubblewrapSandbox
from crucible.types import Limits
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
sandbox, held = BubblewrapSandbox(), []
seen = []
for count in map(int, sys.argv[1:]):
    while len(held) < count:
        held.append(os.open(os.devnull, os.O_RDONLY))
        os.set_inheritable(held[-1], True)
    done = sandbox.run("import os\\nfor fd in range(20000):\\n  try: os.fstat(fd)\\n  except OSError: continue\\n  print(fd)")
    seen.append(done.stdout.split())
print(all(fds == ["0", "1", "2"] for fds in seen) or seen)
"""


@pytest.mark.parametrize("held", [range(185, 205), (4000, 4090, 5000)], ids=["as many as some numbers", "very many"])
def test_a_host_with_many_open_files_passes_on_none(held: Iterable[int]) -> None:
    if max(held) >= resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100:
        pytest.skip("this machine allows too few open files")
    command = [sys.executable, "-c", HOLDING_FILES, *map(str, held)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "True", done.stdout + done.stderr


def test_the_canary_holds_here(sandbox: Sandbox) -> None:
    report = observe(sandbox)
    assert report.ok and report.tier == sandbox.tier, [item for item in report.properties if not item.held]


def test_without_bubblewrap_it_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crucible.security.sandbox.tiers.shutil.which", lambda *_, **__: None)
    with pytest.raises(SandboxUnavailableError, match="apt-get install bubblewrap"):
        BubblewrapSandbox()


@pytest.mark.parametrize("machine", seccomp._MACHINES.values())
def test_filters_are_whole_programs_that_end_in_allow(machine: seccomp.Machine) -> None:
    for program in (
        seccomp.outer_filter(on=machine),
        seccomp.outer_filter("project", machine),
        seccomp.outer_filter(on=machine, attributes=False),
        seccomp.inner_filter(on=machine),
    ):
        assert len(program) % 8 == 0 and len(program) // 8 < 4096
        assert program[-8:] == seccomp._return(seccomp.ALLOW)
