"""The process between Crucible and one sandbox. Started with `python -I -S`, imports the standard library only.

It reads one order (JSON line) from stdin, starts the program the order names, and ends it when the deadline passes, when
the output grows too long, or when stdin ends, which is how the death of its parent shows, however that came. As a
subreaper it inherits every orphan, so that nothing of a sandbox outlives it. Then it prints one report.

Output is drained up to its cap; after the program has ended, only what is in the pipes already.
"""

import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x00020000, 0x1000, 0x4000, 0x40000
CHUNK = 65536


def stage(libc, source, folder):
    """In a mount namespace of our own: `source` at `folder`/0, reachable for every user. Needs root."""
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "no mount namespace")
    steps = (
        (b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        (b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"mode=0755,size=64k"),
    )
    for step in steps:
        if libc.mount(*step):
            raise OSError(ctypes.get_errno(), "no private mount")
    place = os.path.join(folder, "0")
    os.mkdir(place, 0o755)
    if libc.mount(os.fsencode(source), os.fsencode(place), None, MS_BIND | MS_REC, None):
        raise OSError(ctypes.get_errno(), f"cannot bind {source}")


def spawn(order, out, err):
    """Start the program in a session of its own, as the order's user, with the order's descriptors and no others."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        # Ours may have any number, also one that is wanted: copies above all wanted ones first. Every descriptor but
        # those that dup2 makes closes by itself when the program starts.
        given = {int(wanted): ours for wanted, ours in order["fds"].items()}
        copies = {wanted: fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, max(given) + 1) for wanted, ours in given.items()}
        for ours in given.values():
            os.set_inheritable(ours, False)
        for wanted, copy in copies.items():
            os.dup2(copy, wanted)
        if order["uid"] is not None:
            os.setgroups([])
            os.setresgid(order["uid"], order["uid"], order["uid"])
            os.setresuid(order["uid"], order["uid"], order["uid"])
        os.chdir("/")
        os.execve(order["argv"][0], order["argv"], {})
    except BaseException as error:
        os.write(2, f"launcher: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(119)


def kill_all(pid):
    """The group, then the program itself: with it dies the first process of its namespace, and with that all others."""
    for kill, target in ((os.killpg, pid), (os.kill, pid)):
        try:
            kill(target, signal.SIGKILL)
        except ProcessLookupError:
            continue


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


def supervise(pid, drains, wall_s):
    """Wait for the end of the program or a reason to end it; returns (why, or None for its own end)."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(0, select.POLLIN)
    open_drains = {drain.fd: drain for drain in drains}
    for fd in open_drains:
        poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + wall_s
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return "timeout"
            for fd, _ in poll.poll(min(left, 60.0) * 1000):
                if fd == pidfd:
                    return None
                if fd == 0 and not os.read(0, CHUNK):
                    return "closed"
                if fd in open_drains:
                    if not open_drains[fd].take():
                        poll.unregister(fd)
                    if open_drains[fd].over:
                        return "output_limit"
    finally:
        os.close(pidfd)


def reap(pid):
    """Wait for every descendant; returns the program's status and the use of all of them."""
    status, cpu, memory = None, 0.0, 0
    while True:
        try:
            done, state, use = os.wait4(-1, 0)
        except ChildProcessError:
            return status, cpu, memory
        cpu += use.ru_utime + use.ru_stime
        memory = max(memory, use.ru_maxrss)
        if done == pid:
            status = state


def main():
    order = json.loads(sys.stdin.buffer.readline())
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began = time.monotonic()
    if order["stage"] is not None:
        stage(libc, *order["stage"])
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    pid = spawn(order, out_write, err_write)
    os.close(out_write)
    os.close(err_write)
    for ours in set(order["fds"].values()):
        os.close(ours)
    drains = [Drain(out_read, order["output_bytes"]), Drain(err_read, order["output_bytes"])]
    why = supervise(pid, drains, order["wall_s"])
    kill_all(pid)
    status, cpu, memory = reap(pid)
    for drain in drains:
        drain.take()
    report = {
        "why": why,
        "exit_code": None if status is None else os.waitstatus_to_exitcode(status),
        "over": any(drain.over for drain in drains),
        "stdout": drains[0].data.decode("utf-8", "replace"),
        "stderr": drains[1].data.decode("utf-8", "replace"),
        "wall_s": time.monotonic() - began,
        "cpu_s": cpu,
        "memory_mib": memory / 1024,
    }
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


main()
