"""What the launcher and its children do to themselves before a sandbox starts. The standard library only.

Any failure here ends the process it happens in: half confined is not confined.
Landlock: Linux Documentation/userspace-api/landlock.rst. Control groups: admin-guide/cgroup-v1 and cgroup-v2.
"""

import ctypes
import os
import signal
import struct
import time

PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 24, 38, 2
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWNET = 0x00020000, 0x02000000, 0x04000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MS_NOSUID, MS_NODEV = 0x1000, 0x4000, 0x40000, 0x2, 0x4
MNT_DETACH = 2
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT, LANDLOCK_VERSION, LANDLOCK_PATH = 444, 445, 446, 1, 1
NEEDED_ABI = 6
"""The first that also keeps signals and abstract sockets inside."""

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
ALL_FILES = (1 << 16) - 1
MAKE_SPECIAL = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11  # character device, socket, fifo, block device
TCP, SCOPES = 0b11, 0b11

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def private_mounts():
    """From now on this process's mounts are its own. Needs root."""
    check(libc.unshare(CLONE_NEWNS), "a mount namespace")
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")


def empty_world():
    """From now on this process and what it starts have an empty network of their own, and a host name. Needs root."""
    check(libc.unshare(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWCGROUP), "namespaces")


def mount_memory(place, options):
    check(libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", MS_NOSUID | MS_NODEV, options.encode()), "a tmpfs")


def stage(source, folder):
    """`source`, which only root can reach, at `folder`/0 for every user, in mounts that are private already."""
    mount_memory(folder, "mode=0755,size=64k")
    place = os.path.join(folder, "0")
    os.mkdir(place, 0o755)
    check(libc.mount(os.fsencode(source), os.fsencode(place), None, MS_BIND | MS_REC, None), f"binding {source}")


def landlock(readable, writable, devices):
    """From now on: read and execute below `readable`, read and write below `writable` and the device files, no more."""
    abi = libc.syscall(LANDLOCK_CREATE, None, 0, LANDLOCK_VERSION)
    if abi < NEEDED_ABI:
        raise OSError(f"the kernel's Landlock is of version {max(abi, 0)}, {NEEDED_ABI} is needed")
    ruleset = struct.pack("=QQQ", ALL_FILES, TCP, SCOPES)
    rules = check(libc.syscall(LANDLOCK_CREATE, ruleset, len(ruleset), 0), "a Landlock ruleset")
    grants = [(path, EXECUTE | READ_FILE | READ_DIR) for path in readable]
    grants += [(path, ALL_FILES & ~(EXECUTE | MAKE_SPECIAL)) for path in writable]
    grants += [(path, READ_FILE | WRITE_FILE) for path in devices]
    for path, rights in grants:
        place = os.open(path, os.O_PATH)
        rule = struct.pack("=Qi", rights if os.path.isdir(path) else rights & ~READ_DIR, place)
        check(libc.syscall(LANDLOCK_ADD, rules, LANDLOCK_PATH, rule, 0), f"a Landlock rule for {path}")
        os.close(place)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    check(libc.syscall(LANDLOCK_RESTRICT, rules, 0), "Landlock")
    os.close(rules)


class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def seccomp(program):
    wanted = Program(len(program) // 8, program)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0), "seccomp")


def own_groups():
    """{controller: folder} below which groups that limit memory and processes can be made; version 2 has one for both."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return {"": "/sys/fs/cgroup"}
    found = {}
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, names, path = line.strip().split(":", 2)
            for name in {"memory", "pids"} & set(names.split(",")):
                top = os.path.join("/sys/fs/cgroup", name)
                below = os.path.join(top, path.lstrip("/"))
                found[name] = below if os.path.isdir(below) else top
    if len(found) < 2:
        raise OSError("this machine has no control groups for memory and processes")
    return found


class Group:
    """Control groups for one sandbox: memory and processes of all its programs together."""

    def __init__(self, name, memory_bytes, processes):
        wanted = {
            "memory": [("memory.limit_in_bytes", memory_bytes), ("memory.memsw.limit_in_bytes", memory_bytes)],
            "pids": [("pids.max", processes)],
            "": [("memory.max", memory_bytes), ("memory.swap.max", 0), ("pids.max", processes)],
        }
        self.folders = []
        try:
            for controller, parent in own_groups().items():
                folder = os.path.join(parent, name)
                os.mkdir(folder)
                self.folders.append(folder)
                for file, value in wanted[controller]:
                    self._limit(os.path.join(folder, file), value)
        except OSError:
            self.remove()
            raise

    def _limit(self, path, value):
        try:
            with open(path, "w") as file:
                file.write(str(value))
        except FileNotFoundError:
            if "sw" not in path:  # a kernel without swap accounting has no file for it
                raise

    def join(self):
        for folder in self.folders:
            with open(os.path.join(folder, "cgroup.procs"), "w") as file:
                file.write(str(os.getpid()))

    def remove(self):
        for folder in self.folders:
            for _ in range(100):
                try:
                    os.rmdir(folder)
                    break
                except OSError:  # the kernel has not yet let go of the last process
                    time.sleep(0.01)


def descriptors(given):
    """Give every descriptor its wanted number; what is not wanted closes by itself when the program starts."""
    for wanted, ours in given.items():
        os.dup2(ours, wanted)


def drop(uid):
    for capability in range(64):  # first: nothing may be drawn from the bounding set later
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            break  # the last one known to the kernel was the one before
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def become(order, given, group):
    """Turn this process into what the order says. Never returns."""
    try:
        os.setsid()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if group is not None:
            group.join()
        descriptors(given)
        if order["uid"] is not None:
            drop(order["uid"])
        os.chdir(order["folder"])
        if order["landlock"] is not None:
            landlock(**order["landlock"])
            seccomp(order["filter"])
        os.execve(order["argv"][0], order["argv"], order["environment"])
    except BaseException as error:
        os.write(2, f"launcher: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(119)
