"""The system calls a candidate may not make, as a classic BPF program for the kernel.

A deny list on top of empty namespaces and no capabilities: it takes away what those leave (new processes, sockets that no
network namespace covers, memory files) and what has been the way into kernels (io_uring, bpf, keyrings, userfaultfd).
Calls newer than this list answer ENOSYS. The function profile forbids processes and sockets; the project profile allows
processes (its control group bounds them) and UNIX sockets (its namespaces are empty).

Format: Linux Documentation/userspace-api/seccomp_filter.rst; numbers from the kernel's system call tables.
"""

from __future__ import annotations

import errno
import platform
import struct
from functools import cache
from typing import NamedTuple

from crucible.errors import SandboxUnavailableError
from crucible.security.base import Profile

ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
AND = 0x54
NUMBER_AT, ARCHITECTURE_AT, ARGUMENT_0_AT, ARGUMENT_1_AT = 0, 4, 16, 24
SOCK_STREAM, SOCK_TYPES = 1, 0xF
CLONE_THREAD, AF_UNIX, X32_BIT = 0x00010000, 1, 0x40000000
NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
NEWEST_KNOWN = 468

# name: (x86_64, aarch64); None where the architecture has no such call
_Calls = dict[str, tuple[int | None, int | None]]

# only the function profile: threads are made with clone(CLONE_THREAD), and asyncio needs socketpair(AF_UNIX), see below
_PROCESSES: _Calls = {
    "fork": (57, None), "vfork": (58, None), "connect": (42, 203), "accept": (43, 202), "bind": (49, 200),
    "listen": (50, 201), "accept4": (288, 242),
}  # fmt: skip
_DENIED: _Calls = {
    # other processes and their memory
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "migrate_pages": (256, 238), "move_pages": (279, 239), "process_mrelease": (448, 448),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    # memory that is a file or outlives the process
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmctl": (31, 195), "shmat": (30, 196),
    "shmdt": (67, 197), "semget": (64, 190), "semctl": (66, 191), "semtimedop": (220, 192), "semop": (65, 193),
    "msgget": (68, 186), "msgctl": (71, 187), "msgrcv": (70, 188), "msgsnd": (69, 189), "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # large kernel surfaces
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "fanotify_init": (300, 262), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "statmount": (457, 457), "listmount": (458, 458), "open_tree_attr": (467, 467),
    # the machine
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116), "personality": (135, 92),
    "modify_ldt": (154, None), "vhangup": (153, 58), "lookup_dcookie": (212, 18),
    "uselib": (134, None), "sysfs": (139, None), "_sysctl": (156, None), "nfsservctl": (180, 42),
}  # fmt: skip
# only where files of the host's are seen at their own place (Landlock does not cover these): whose and of what mode they are
_ATTRIBUTES: _Calls = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463),
    "removexattrat": (466, 466),
}  # fmt: skip
_EXEC: _Calls = {"execve": (59, 221), "execveat": (322, 281)}
_CLONE, _CLONE3, _SOCKET, _SOCKETPAIR = (56, 220), (435, 435), (41, 198), (53, 199)
_OWN_ONLY = ((302, 261), (203, 122))
"""prlimit64 and sched_setaffinity, which may name another process by their first argument; 0 is the caller."""


class Machine(NamedTuple):
    audit: int
    column: int


_MACHINES = {"x86_64": Machine(0xC000003E, 0), "aarch64": Machine(0xC00000B7, 1)}


def machine() -> Machine:
    name = platform.machine()
    if name not in _MACHINES:
        raise SandboxUnavailableError(f"the sandbox knows the system calls of x86_64 and aarch64, not of {name}")
    return _MACHINES[name]


@cache
def outer_filter(profile: Profile = "function", on: Machine | None = None, *, attributes: bool = True) -> bytes:
    """Before the interpreter starts: all denied calls. Exec is left, for that start. attributes: whether files' modes,
    owners and times may be set."""
    on = on or machine()
    calls = {**_DENIED, **(_PROCESSES if profile == "function" else {}), **({} if attributes else _ATTRIBUTES)}
    numbers = [pair[on.column] for pair in calls.values()]
    rules = [_deny(number, errno.EPERM) for number in numbers if number is not None]
    rules.append(_deny(_number(_CLONE3, on), errno.ENOSYS))  # C libraries then fall back to clone, which can be judged
    if profile == "function":
        rules.append(_argument(_number(_CLONE, on), JUMP_SET, CLONE_THREAD))
        rules.append(_deny(_number(_SOCKET, on), errno.EPERM))
    else:
        rules.append(_argument(_number(_CLONE, on), JUMP_SET, NEW_NAMESPACES, allowed=False))
        rules.append(_argument(_number(_SOCKET, on), JUMP_EQUAL, AF_UNIX))
    rules.append(_stream_pair(_number(_SOCKETPAIR, on)))
    rules += [_argument(_number(pair, on), JUMP_EQUAL, 0) for pair in _OWN_ONLY]
    newer = _instruction(JUMP_AT_LEAST, NEWEST_KNOWN, 0, 1) + _return(ERRNO | errno.ENOSYS)
    return _program(on, [newer, *rules])


@cache
def inner_filter(profile: Profile = "function", on: Machine | None = None) -> bytes:
    """For the guest to add to the outer one before the candidate runs: no other program is started. Empty for projects."""
    on = on or machine()
    if profile == "project":
        return b""
    return _program(on, [_deny(_number(pair, on), errno.EPERM) for pair in _EXEC.values()])


def _number(pair: tuple[int | None, int | None], on: Machine) -> int:
    number = pair[on.column]
    assert number is not None
    return number


def _program(on: Machine, rules: list[bytes]) -> bytes:
    """Wrong architecture (another table of numbers): killed. No rule matched: allowed."""
    head = _instruction(LOAD, ARCHITECTURE_AT) + _instruction(JUMP_EQUAL, on.audit, 1, 0) + _return(KILL_PROCESS)
    head += _instruction(LOAD, NUMBER_AT)
    if on.column == 0:
        head += _instruction(JUMP_SET, X32_BIT, 0, 1) + _return(KILL_PROCESS)
    return head + b"".join(rules) + _return(ALLOW)


def _deny(number: int, code: int) -> bytes:
    return _instruction(JUMP_EQUAL, number, 0, 1) + _return(ERRNO | code)


def _argument(number: int, test: int, value: int, allowed: bool = True) -> bytes:
    """Allow the call if its first argument, an int, passes the test, and deny it otherwise; or the reverse."""
    return (
        _instruction(JUMP_EQUAL, number, 0, 4)
        + _instruction(LOAD, ARGUMENT_0_AT)
        + (_instruction(test, value, 1, 0) if allowed else _instruction(test, value, 0, 1))
        + _return(ERRNO | errno.EPERM)
        + _return(ALLOW)
    )


def _stream_pair(number: int) -> bytes:
    """socketpair for two streams. One end of a pair of datagram sockets could send to any named socket of the host's."""
    return (
        _instruction(JUMP_EQUAL, number, 0, 7)
        + _instruction(LOAD, ARGUMENT_0_AT)
        + _instruction(JUMP_EQUAL, AF_UNIX, 0, 4)
        + _instruction(LOAD, ARGUMENT_1_AT)
        + _instruction(AND, SOCK_TYPES)
        + _instruction(JUMP_EQUAL, SOCK_STREAM, 0, 1)
        + _return(ALLOW)
        + _return(ERRNO | errno.EPERM)
    )


def _return(value: int) -> bytes:
    return _instruction(RETURN, value)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """struct sock_filter: u16 code, u8 jump if true, u8 jump if false, u32 constant."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
