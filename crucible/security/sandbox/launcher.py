"""The process between Crucible and its sandboxes. Started once with `python -I -S`; the standard library only.

For every order that comes over its socket it starts a sandbox, and ends it when its deadline passes, when its output grows
too long, or when its control pipe ends, which is how the death of Crucible shows, however that came. As a subreaper it
inherits every orphan; a sandbox's report is written once nothing of it is left. Output is drained up to its cap; after the
program has ended, only what is in the pipes already.

A sandbox may wait, started, for its candidate: its time counts from the word "go" on the control pipe.
"""

import gc
import importlib.util
import json
import os
import resource  # noqa: F401 - wait4 wants it, and after the change of user it may be out of reach
import select
import signal
import socket
import time

PR_SET_CHILD_SUBREAPER = 36
CHUNK = 65536
WATCH_S = 0.05
REAP_S = 0.002
LOW = 10
"""Descriptors below this are taken, so that none we are given has a number that a sandbox's own must have."""

_spec = importlib.util.spec_from_file_location("confine", os.path.join(os.path.dirname(__file__), "confine.py"))
confine = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(confine)


class Drain:
    """One output pipe, read up to a cap."""

    def __init__(self, fd, cap):
        self.fd, self.cap, self.data, self.over = fd, cap, bytearray(), False
        os.set_blocking(fd, False)

    def take(self):
        """Read what is there; False at the end of the pipe."""
        while True:
            try:
                part = os.read(self.fd, CHUNK)
            except BlockingIOError:
                return True
            if not part:
                return False
            room = self.cap - len(self.data)
            self.data += part[: max(0, room)]
            if len(part) > room:
                self.over = True
                return True


class Scratch:
    """A folder for a sandbox without mounts of its own: a sized tmpfs where we may mount, else a watched folder."""

    def __init__(self, size, files, uid):
        self.folder = f"/tmp/crucible-{os.getpid()}-{os.urandom(8).hex()}"
        self.limits = (size, files)
        os.mkdir(self.folder, 0o700)
        try:
            confine.mount_memory(self.folder, f"mode=0777,size={size},nr_inodes={files}")
            self.watched = False
        except OSError:
            self.watched = True
            if uid is not None:
                os.chown(self.folder, uid, uid)

    def full(self):
        """Return whether a watched folder has outgrown its limits."""
        if not self.watched:
            return False
        size = files = 0
        waiting = [self.folder]
        while waiting:
            try:
                entries = list(os.scandir(waiting.pop()))
            except OSError:
                continue
            for entry in entries:
                files += 1
                try:
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                except OSError:
                    continue
                if size > self.limits[0] or files > self.limits[1]:
                    return True
        return False

    def remove(self):
        """rm takes what a recursion of ours would not: any depth, any names."""
        if not self.watched:
            confine.libc.umount2(os.fsencode(self.folder), confine.MNT_DETACH)
        else:
            os.waitpid(os.posix_spawn("/bin/chmod", ["chmod", "-R", "u+rwx", "--", self.folder], {}), 0)
        os.waitpid(os.posix_spawn("/bin/rm", ["rm", "-rf", "--", self.folder], {}), 0)


def feed(data):
    """A pipe that holds `data` and then ends. The data fits the kernel's buffer."""
    source, sink = os.pipe()
    os.write(sink, data)
    os.close(sink)
    return source


class Sandbox:
    """One sandbox, from its start to its report."""

    def __init__(self, order, fds, guest):
        stdin, to_guest, from_guest, self.control, self.report_to = fds
        self.scratch = self.group = None
        self.why, self.began, self.deadline = None, time.monotonic(), None
        self.inside, self.cpu, self.memory, self.status = [], 0.0, 0, None
        given = {0: stdin, 3: to_guest, 4: from_guest}
        try:
            program = bytes.fromhex(order["filter"])
            given |= {5: feed(program), 6: feed(guest)}
            out_read, out_write = os.pipe()
            err_read, err_write = os.pipe()
            self.pid = self.start({**order, "filter": program}, {**given, 1: out_write, 2: err_write})
        finally:
            for fd in given.values():
                os.close(fd)
        os.close(out_write)
        os.close(err_write)
        self.drains = {fd: Drain(fd, CHUNK) for fd in (out_read, err_read)}
        self.pidfd = os.pidfd_open(self.pid)

    def start(self, order, given):
        if order["scratch"] is not None:
            self.scratch = Scratch(*order["scratch"], order["uid"])
            order["folder"] = self.scratch.folder
            order["environment"].update(HOME=order["folder"], TMPDIR=order["folder"])
            order["landlock"]["writable"] = [order["folder"]]
        if order["group"] is not None:
            self.group = confine.Group(f"crucible-{os.getpid()}-{os.urandom(4).hex()}", *order["group"])
        if order["uid"] is None and self.scratch is None and self.group is None:  # without a copy of this process
            actions = [(os.POSIX_SPAWN_DUP2, ours, wanted) for wanted, ours in given.items()]
            argv = order["argv"]
            return os.posix_spawn(argv[0], argv, {}, file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE])
        pid = os.fork()
        if not pid:
            confine.become(order, given, self.group)
        return pid

    def event(self, fd):
        """Something is to be read. False where nothing more will be."""
        if fd == self.control:
            said = os.read(fd, CHUNK)
            if not said:
                self.end("closed")
                return False
            go = json.loads(said)
            self.began = time.monotonic()
            self.deadline = self.began + go["wall_s"]
            for drain in self.drains.values():
                drain.cap = go["output_bytes"]
        elif fd in self.drains:
            more = self.drains[fd].take()
            if self.drains[fd].over:
                self.end("output_limit")
            return more
        return fd != self.pidfd

    def tick(self, now):
        """Seconds until this must be called again, None once nothing is left of the sandbox."""
        if self.deadline is not None and now >= self.deadline:
            self.end("timeout")
        elif self.scratch is not None and self.scratch.full():
            self.end("disk_limit")
        if self.pid is not None and self.reap(self.pid):
            self.pid = None
            self.inside += strays()
            for pid in self.inside:
                kill(os.kill, pid)
        if self.pid is None:
            self.inside = [pid for pid in self.inside if not self.reap(pid)]
            return REAP_S if self.inside else None
        if self.why is not None:
            return REAP_S
        wait = 60.0 if self.deadline is None else self.deadline - now
        return min(wait, WATCH_S) if self.scratch is not None and self.scratch.watched else wait

    def end(self, why):
        """Kill it: the first process of its namespace, and with that all others there; then its own."""
        if self.why is not None or self.pid is None:
            return
        self.why, self.deadline = why, None
        self.inside = children(self.pid)
        for pid in self.inside:
            kill(os.kill, pid)
        kill(os.killpg, self.pid)
        kill(os.kill, self.pid)

    def reap(self, pid):
        """Return whether `pid` is gone. What it used counts."""
        try:
            done, state, use = os.wait4(pid, os.WNOHANG)
        except ChildProcessError:
            return True
        if not done:
            return False
        self.cpu += use.ru_utime + use.ru_stime
        self.memory = max(self.memory, use.ru_maxrss)
        if pid == self.pid:
            self.status = state
        return True

    def finish(self):
        wall = time.monotonic() - self.began
        for drain in self.drains.values():
            drain.take()
        out, err = (drain.data.decode("utf-8", "replace") for drain in self.drains.values())
        report = {
            "why": self.why,
            "exit_code": None if self.status is None else os.waitstatus_to_exitcode(self.status),
            "over": any(drain.over for drain in self.drains.values()),
            "stdout": out,
            "stderr": err,
            "wall_s": wall,
            "cpu_s": self.cpu,
            "memory_mib": self.memory / 1024,
        }
        for fd in (self.pidfd, self.control, *self.drains):
            os.close(fd)
        running.remove(self)
        for used in (self.group, self.scratch):
            if used is not None:
                used.remove()
        send_report(self.report_to, report)


def kill(how, pid):
    try:
        how(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it is gone, or its number is somebody else's by now
        return


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def strays():
    """Processes of ours that belong to no sandbox still running: what an ended one left."""
    known = {pid for sandbox in running for pid in (sandbox.pid, *sandbox.inside)} | writers
    return [pid for pid in children(os.getpid()) if pid not in known]


def send_report(fd, report):
    """In a process of its own where it is long: the reader may be slow, and others wait for us."""
    data = json.dumps(report).encode() + b"\n"
    writer = os.fork() if len(data) > CHUNK else None
    if not writer:
        sent = 0
        try:
            while sent < len(data):
                sent += os.write(fd, data[sent:])
        except BrokenPipeError:
            sent = len(data)  # nobody wants it any more
    if writer == 0:
        os._exit(0)
    if writer:
        writers.add(writer)
    os.close(fd)


def accept(channel, guest, broken):
    """Start what the next order says. broken: why none can be. None at the end of the orders."""
    message, fds, _, _ = socket.recv_fds(channel, 1 << 17, 5)
    if not message:
        return None
    for fd in fds:  # CPython 3.11's recv_fds drops its flags, MSG_CMSG_CLOEXEC too; a copy would outlive its sandbox
        os.set_inheritable(fd, False)
    try:
        if broken is not None:
            raise broken
        return [Sandbox(json.loads(message), fds, guest)]
    except OSError as error:
        os.close(fds[3])
        send_report(fds[4], {"why": None, "exit_code": None, "stderr": f"launcher: {error}"})
        return []


def serve(fd):
    """Something happened on one of a sandbox's descriptors."""
    sandbox = owners[fd]
    if not sandbox.event(fd):
        poll.unregister(fd)
        del owners[fd]


def add(sandbox):
    running.append(sandbox)
    for fd in (sandbox.pidfd, sandbox.control, *sandbox.drains):
        owners[fd] = sandbox
        poll.register(fd, select.POLLIN)


def tick():
    """Seconds until something must be looked at again."""
    now, wait = time.monotonic(), 60.0
    for sandbox in list(running):
        left = sandbox.tick(now)
        if left is not None:
            wait = min(wait, max(0.0, left))
            continue
        for fd in [fd for fd, owner in owners.items() if owner is sandbox]:
            poll.unregister(fd)
            del owners[fd]
        sandbox.finish()
    for writer in list(writers):
        if os.waitpid(writer, os.WNOHANG)[0]:
            writers.remove(writer)
    return wait


poll = select.poll()
owners, running, writers = {}, [], set()


def main():
    while os.open(os.devnull, os.O_RDWR) < LOW:
        continue
    channel = socket.socket(fileno=0)
    hello = json.loads(channel.recv(1 << 20))
    guest = bytes.fromhex(hello["guest"])
    broken = None
    try:
        confine.libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if hello["world"]:
            confine.empty_world()
        if hello["mounts"]:
            confine.private_mounts()
        if hello["stage"] is not None:
            confine.stage(*hello["stage"])
        if hello["uid"] is not None:
            confine.drop(hello["uid"])
    except OSError as error:
        broken = error
    gc.freeze()  # what is copied with a fork is not looked through for garbage
    poll.register(channel.fileno(), select.POLLIN)
    wait = 60.0
    while True:
        for fd, _ in poll.poll(wait * 1000):
            if fd == channel.fileno():
                started = accept(channel, guest, broken)
                if started is None:
                    return
                for sandbox in started:
                    add(sandbox)
            elif fd in owners:
                serve(fd)
        wait = tick()


main()
