"""The first program inside the sandbox. Its source, after wire.py's, is what the interpreter there starts with.

It takes limits, filter and program from the request pipe, tightens the sandbox from inside (rlimits, no exec), and then
does one of four things: run the program as `__main__`; serve calls of its functions; be one side of a test between two
sandboxes (peer.py, tester.py); or run the tests beside the program (runner.py). It guards nothing once the program runs:
what it reports is a claim.
"""

import posix
import sys

FRAME_HEAD = 4


class Pipe:
    """Length-prefixed frames on two file descriptors."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            part = posix.read(self.source, count - len(data))
            if not part:
                posix._exit(0)  # nobody is asking any more
            data += part
        return data

    def read(self):
        return decode(self._exactly(int.from_bytes(self._exactly(FRAME_HEAD), "big")))

    def write(self, value, keep=None, lazy=False):
        data = encode(value, keep, lazy)
        data = len(data).to_bytes(FRAME_HEAD, "big") + data
        while data:
            data = data[posix.write(self.sink, data) :]


def tighten(limits, program):
    """Limits of this process, {resource's number: value}, and its seccomp filter against exec. Failing here ends it.

    Where the machine's hard limit is lower than the one wanted, the machine's is kept."""
    import _ctypes  # not ctypes, whose import takes as long as starting the interpreter

    library = _ctypes.dlopen(None, 0)
    getrlimit, setrlimit, prctl = (_ctypes.dlsym(library, name) for name in ("getrlimit", "setrlimit", "prctl"))
    failed = []
    for number, value in limits.items():
        there = bytes(16)  # struct rlimit: soft, hard; the call writes into the object
        failed.append(_ctypes.call_function(getrlimit, (number, there)))
        value = min(value, int.from_bytes(there[8:], sys.byteorder))
        failed.append(_ctypes.call_function(setrlimit, (number, value.to_bytes(8, sys.byteorder) * 2)))
    if program:
        address = id(program) + bytes.__basicsize__ - 1  # of the bytes' own data, as CPython lays them out
        wanted = (len(program) // 8).to_bytes(8, sys.byteorder) + address.to_bytes(
            8, sys.byteorder
        )  # struct sock_fprog
        PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
        failed.append(_ctypes.call_function(prctl, (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))
        failed.append(_ctypes.call_function(prctl, (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, wanted, 0, 0)))
    if any(failed):
        sys.stderr.write("the sandbox could not be tightened\n")
        posix._exit(120)


def failure(error):
    """Return what a judge may know of an exception: class names, message, line in the program."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "solution.py":
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == "solution.py":
        line = error.lineno
    try:
        message = str(error)[:500]
    except Exception as other:
        message = f"its message raises {type(other).__name__}"
    return {"error": [cls.__name__ for cls in type(error).__mro__][:20], "message": message, "line": line}


PREAMBLE = ""
SCRATCH = "/work"
MAX_STACK = 64 << 20
"""Bytes of a thread's stack. Python functions need little of it, and a larger one would use up the address space."""


class Source:
    """Gives tracebacks and `inspect` the program's lines, which lie in no file."""

    def __init__(self, code):
        self.code = code

    def get_source(self, name):
        return self.code


def leave(code=None):
    """End the program (Python's `exit` and `quit`, which it has where its start-up files are read)."""
    raise SystemExit(code)


def prepare(module, code):
    """Put in place what every Python program finds: exit, quit, its file's name; and stacks that fit into the sandbox."""
    import _thread
    import builtins

    builtins.exit = builtins.quit = leave
    module.__dict__.update(__builtins__=builtins, __file__=f"{SCRATCH}/solution.py", __loader__=Source(code))
    real = _thread.stack_size
    _thread.stack_size = lambda size=0: real(min(size, MAX_STACK))
    sys.modules[module.__name__] = module


def load(code, name):
    module = type(sys)(name)
    prepare(module, code)
    if PREAMBLE:
        exec(compile(PREAMBLE, "preamble.py", "exec"), module.__dict__)
    exec(compile(code, "solution.py", "exec"), module.__dict__)
    return module


def run(code):
    sys.argv = ["solution.py"]
    main = type(sys)("__main__")
    prepare(main, code)
    open_streams()
    exec(compile(code, "solution.py", "exec"), main.__dict__)


def open_streams():
    """Let a program open its standard streams by name: there is no /proc that they could lead to."""
    import builtins
    import io

    real = io.open
    streams = {name: number for number, name in enumerate(("/dev/stdin", "/dev/stdout", "/dev/stderr"))}
    streams |= {f"{folder}/{number}": number for folder in ("/dev/fd", "/proc/self/fd") for number in range(3)}

    def open(file, *args, **kwargs):
        name = file.__fspath__() if hasattr(file, "__fspath__") else file
        number = streams.get(name) if isinstance(name, str) else None
        return real(file if number is None else posix.dup(number), *args, **kwargs)

    builtins.open = io.open = open


def serve(pipe, code):
    """Answer calls of the program's functions until the pipe ends."""
    kept = []

    def keep(value):
        kept.append(value)
        return len(kept) - 1

    def answer(work):
        try:
            result = {"value": work()}
        except BaseException as error:
            result = failure(error)
        try:
            pipe.write(result, keep)
        except WireError as error:
            pipe.write({"error": ["ResultError"], "message": str(error), "line": None})
        except BaseException as error:
            pipe.write(failure(error))

    def call(request):
        return found(request["name"], request.get("bound"))(*request["args"], **request["kwargs"])

    def found(name, bound):
        """A function by name, or a method of an object that its class makes: `Solution().solve`, one for all calls."""
        if bound and name in objects:
            return objects[name]
        target = module[0]
        for part in name.split("."):
            target = getattr(target, part.removesuffix("()"))
            target = target() if part.endswith("()") else target
        objects[name] = target
        return target

    module, objects = [None], {}

    def start():
        module[0] = load(code, "solution")
        return True

    answer(start)
    while True:
        request = pipe.read()
        answer(lambda: call(request))


def main():
    global PREAMBLE
    source, sink = 3, 4  # the launcher puts the pipes there
    posix.closerange(sink + 1, 16)
    pipe = Pipe(source, sink)
    order = pipe.read()
    tighten(order["limits"], order["filter"])
    posix.write(sink, TIGHT)
    PREAMBLE = order.get("preamble", "")
    if order["mode"] == "run":
        posix.close(source)
        posix.close(sink)
        run(order["code"])
    elif order["mode"] == "serve":
        serve(pipe, order["code"])
    else:  # tests, or one side of them
        import marshal

        exec(marshal.loads(order["runtime"]), globals())
        if order["mode"] == "candidate":
            candidate(pipe, order["code"])
        elif order["mode"] == "tester":
            tester(pipe, order["statements"], order["imports"], order["names"], order["token"])
        else:
            together(pipe, order["code"], order["statements"], order["imports"], order["token"])


main()
