"""As root: become an ordinary user, then another program. `python become.py UID PATH:PATH:… PROGRAM [ARGUMENT …]`

The paths are what that program needs. Where one lies below a folder that only root may enter, as a Python under /root
does, it is mounted at its own place in this process's own mounts, below an empty folder that anybody may enter. Nothing
of the machine is changed. The standard library only: nothing else can be imported yet.
"""

import ctypes
import os
import sys

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x00020000, 0x1000, 0x4000, 0x40000
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def closed_folder(path: str) -> str | None:
    """The first folder on the way to `path` that only its owner may enter."""
    parts = path.strip("/").split("/")
    above = ["/" + "/".join(parts[:count]) for count in range(1, len(parts))]
    return next((folder for folder in above if not os.stat(folder).st_mode & 0o001), None)


def open_up(paths: list[str]) -> None:
    closed = {path: folder for path in paths if (folder := closed_folder(path)) is not None}
    if not closed:
        return
    check(libc.unshare(CLONE_NEWNS), "a mount namespace")
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")
    held = {path: os.open(path, os.O_PATH) for path in closed}
    for folder in set(closed.values()):
        check(libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, b"mode=0755,size=1m"), f"covering {folder}")
    for path in sorted(closed):
        if not os.path.exists(path):  # else it lies in one that is bound already
            os.makedirs(path, 0o755)
            source = f"/proc/self/fd/{held[path]}".encode()
            check(libc.mount(source, path.encode(), None, MS_BIND | MS_REC, None), f"binding {path}")
    for fd in held.values():
        os.close(fd)


def main() -> None:
    uid, paths, command = int(sys.argv[1]), sys.argv[2].split(":"), sys.argv[3:]
    os.umask(0o022)
    folders = [path for path in paths if os.path.isdir(path)]
    open_up([*folders, *map(os.path.realpath, folders)])
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.execv(command[0], command)


main()
