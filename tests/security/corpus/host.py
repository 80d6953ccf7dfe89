"""What stands around the sandboxes while a corpus runs: secrets to read, listeners to reach, a process to signal.

Everything carries one random text, the canary. Whatever the listeners hear is kept, with what they are called.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import secrets
import selectors
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

FOLDER = "/tmp/crucible-canary"
TCP_PORT, UDP_PORT = 48765, 48766
ABSTRACT, ABSTRACT_DATAGRAMS = "\0crucible-canary", "\0crucible-canary-datagrams"
SHM_KEY = 0x43525543
TOKEN = "CRUCIBLE_SECRET_TOKEN"
HOST_MARKER, SURVIVOR_MARKER = "crucible-host-marker", "crucible-survivor"
BUSY_S = 120.0
GONE_S = 2.0
"""How long a process may take to be gone after the sandbox has answered."""

IPC_CREAT, IPC_RMID, PR_SET_CHILD_SUBREAPER = 0o1000, 0, 36


@dataclass(frozen=True)
class Process:
    """A process that no later one is mistaken for."""

    pid: int
    started: float
    shown: str = field(compare=False)


class Host:
    """Set up by entering, gone without a trace after. One at a time on a machine: the ports are fixed."""

    def __init__(self, shm_keys: frozenset[int] = frozenset()) -> None:
        self.canary = os.environ.get(TOKEN) or f"CRUCIBLE-CANARY-{secrets.token_hex(16)}"
        self.heard: list[str] = []
        self._keys = shm_keys | {SHM_KEY}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            os.environ[TOKEN] = self.canary
            # Orphans that escape a sandbox's own reaper become ours, where `survivors` sees them.
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            listeners = {self._abstract(stack): "the abstract listener"}
            self.folder = _folder(stack)
            self._fill()
            listeners |= self._listeners(stack)
            for key in self._keys:
                stack.enter_context(_shared_memory(key, self.canary))
            self._marker = _marker(stack)
            self._serve(stack, listeners)
            self._before = {*processes()}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def local(self, text: str) -> str:
        """`text` with the corpus' canary folder named as it is here."""
        return re.sub(re.escape(FOLDER) + r"(?![\w.-])", self.folder, text)

    def paths(self, names: tuple[str, ...]) -> list[Path]:
        """The files a program must not have made; $HOME is the environment's and the one on record."""
        homes = {os.environ.get("HOME", "/")}
        with suppress(KeyError):
            homes.add(pwd.getpwuid(os.getuid()).pw_dir)
        named = {self.local(name).replace("$HOME", home) for name in names for home in homes}
        return sorted(Path(name).expanduser() for name in named)

    def leak(self, path: str) -> None:
        """Hold `path` open, as a careless launcher would: inherited by whatever is started."""
        fd = os.open(self.local(path), os.O_RDONLY)
        os.set_inheritable(fd, True)
        self._stack.callback(os.close, fd)

    def learn_parts(self) -> None:
        """Take the children that are there now for the parts of Crucible that have to stay alive."""
        self._parts = psutil.Process().children()

    def missing_parts(self) -> list[str]:
        gone = [f"process {part.pid}" for part in self._parts if not _alive(part)]
        return gone + ([] if self._marker.poll() is None else ["the marked host process"])

    def litter(self) -> set[str]:
        """What lies in the folders that anybody may write to, and has to do with Crucible."""
        places = map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/mnt", os.environ.get("HOME", "/")))
        return {str(path) for place in places if place.is_dir() for path in place.glob("crucible*")} - {self.folder}

    def left_over(self, before: set[str]) -> set[str]:
        """What lies there now and did not before, once others that work on this machine have had time to clean up."""
        deadline = time.monotonic() + GONE_S
        while (left := self.litter() - before) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def survivors(self, known: set[Process]) -> list[str]:
        """Processes that outlived their program: descendants of ours that are new, and any with the survivors' mark.

        They are then ended: the next program shall not be taken for their parent."""
        deadline = time.monotonic() + GONE_S
        while True:
            marked = [each for each in processes() if SURVIVOR_MARKER in each.shown and each not in self._before]
            left = {*marked, *descendants()} - known
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        for each in {*descendants()} & left:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                psutil.Process(each.pid).kill()
        return [f"{each.pid}: {each.shown[:80]}" for each in left]

    @contextmanager
    def connecting(self, ports: tuple[int, ...]) -> Iterator[list[int]]:
        """Try to connect to each port over and over while the block runs; yields those that answered."""
        answered: list[int] = [port for port in ports if _answers(port)]
        stop = threading.Event()

        def knock() -> None:
            while not stop.wait(0.02):
                answered.extend(port for port in ports if port not in answered and _answers(port))

        knocking = threading.Thread(target=knock, daemon=True)
        if ports:
            knocking.start()
        try:
            yield answered
        finally:
            stop.set()
            if ports:
                knocking.join()

    # ------------------------------------------------------------- setting up

    def _abstract(self, stack: ExitStack) -> socket.socket:
        """The first thing to be had, and by one at a time: whoever has it has the host."""
        deadline = time.monotonic() + BUSY_S
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        while True:
            try:
                listener.bind(ABSTRACT)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError("another corpus runs on this machine") from error
                time.sleep(0.2)
            else:
                listener.listen()
                return listener

    def _fill(self) -> None:
        folder = Path(self.folder)
        (folder / "secret.txt").write_text(self.canary + "\n")
        (folder / "crucible-hidden-tests.json").write_text(f'{{"expected": "{self.canary}"}}\n')
        for path in folder.iterdir():
            path.chmod(0o644)

    def _listeners(self, stack: ExitStack) -> dict[socket.socket, str]:
        wanted = [
            (socket.AF_UNIX, socket.SOCK_STREAM, f"{self.folder}/sock"),
            (socket.AF_UNIX, socket.SOCK_DGRAM, f"{self.folder}/datagrams"),
            (socket.AF_UNIX, socket.SOCK_DGRAM, ABSTRACT_DATAGRAMS),
            (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", TCP_PORT)),
            (socket.AF_INET6, socket.SOCK_STREAM, ("::1", TCP_PORT)),
            (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", UDP_PORT)),
        ]
        found = {}
        for family, kind, address in wanted:
            try:
                listener = stack.enter_context(socket.socket(family, kind))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
            except OSError:
                if family != socket.AF_INET6:  # not every machine has one
                    raise
                continue
            if kind == socket.SOCK_STREAM:
                listener.listen()
            if isinstance(address, str) and address[0] == "/":
                Path(address).chmod(0o777)
            found[listener] = f"{kind.name} {address!r}"
        return found

    def _serve(self, stack: ExitStack, listeners: dict[socket.socket, str]) -> None:
        wake, woken = socket.socketpair()
        waiting = selectors.DefaultSelector()
        waiting.register(woken, selectors.EVENT_READ, None)
        for listener, name in listeners.items():
            listener.setblocking(False)
            waiting.register(listener, selectors.EVENT_READ, name)
        answer = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{self.canary}\n".encode()
        guests: list[socket.socket] = []

        def serve() -> None:
            while True:
                for key, _ in waiting.select():
                    listener = key.fileobj
                    assert isinstance(listener, socket.socket)
                    if key.data is None:
                        return
                    with suppress(OSError):
                        if listener.type == socket.SOCK_STREAM:
                            guests.append(listener.accept()[0])  # closing it now could take the answer back
                            self.heard.append(key.data)
                            guests[-1].sendall(answer)
                            guests[-1].shutdown(socket.SHUT_WR)
                        else:
                            listener.recv(1 << 16)
                            self.heard.append(key.data)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()

        def end() -> None:
            wake.close()
            serving.join()
            for guest in (woken, *guests):
                guest.close()
            waiting.close()

        stack.callback(end)


def _folder(stack: ExitStack) -> str:
    """The canary folder under its own name, or under another where somebody has that one already."""
    path = Path(FOLDER)
    try:
        path.mkdir()
    except FileExistsError:
        path = Path(tempfile.mkdtemp(prefix="crucible-canary-", dir="/tmp"))
    stack.callback(shutil.rmtree, path, ignore_errors=True)
    path.chmod(0o755)
    return str(path)


@contextmanager
def _shared_memory(key: int, text: str) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    number = libc.shmget(key, 4096, IPC_CREAT | 0o666)
    if number < 0:
        raise OSError(ctypes.get_errno(), f"shared memory {key:#x}")
    place = libc.shmat(number, None, 0)
    ctypes.memmove(place, text.encode(), len(text))
    try:
        yield
    finally:
        libc.shmdt(ctypes.c_void_p(place))
        libc.shmctl(number, IPC_RMID, None)


def _marker(stack: ExitStack) -> subprocess.Popen[bytes]:
    """A process of the host's that programs may look for. It ends when its stdin does, whatever becomes of us."""
    marked = subprocess.Popen(["/bin/sh", "-c", "read _", HOST_MARKER], stdin=subprocess.PIPE)

    def end() -> None:
        assert marked.stdin is not None
        marked.stdin.close()
        marked.wait()

    stack.callback(end)
    return marked


def processes() -> Iterator[Process]:
    for each in psutil.process_iter(["pid", "create_time", "cmdline"]):
        yield Process(each.info["pid"], each.info["create_time"], " ".join(each.info["cmdline"] or ()))


def descendants() -> Iterator[Process]:
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            yield Process(each.pid, each.create_time(), f"{each.name()} ({each.status()})")


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _answers(port: int) -> bool:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as knocking:
            knocking.settimeout(0.2)
            knocking.connect((address, port))
            return True
    return False
