"""The first program inside the sandbox. Its source, after wire.py's, is what the interpreter there starts with.

It takes limits, filter and program from the request pipe, tightens the sandbox from inside (rlimits, no exec), and then
does one of three things: run the program as `__main__`; serve calls of its functions; or, as the tester, run tests whose
calls go to another sandbox. It guards nothing once the program runs: what it reports is a claim.
"""

import ast
import builtins
import os
import sys
import types

FRAME_HEAD = 4


class Pipe:
    """Length-prefixed frames on two file descriptors."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            part = os.read(self.source, count - len(data))
            if not part:
                os._exit(0)  # nobody is asking any more
            data += part
        return data

    def read(self):
        return decode(self._exactly(int.from_bytes(self._exactly(FRAME_HEAD), "big")))

    def write(self, value, keep=None):
        data = encode(value, keep)
        data = len(data).to_bytes(FRAME_HEAD, "big") + data
        while data:
            data = data[os.write(self.sink, data) :]


def tighten(limits, program):
    """Limits of this process and its seccomp filter against exec. Failing here ends the process."""
    import ctypes
    import resource

    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))
    libc = ctypes.CDLL(None, use_errno=True)

    class Filter(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    wanted = Filter(len(program) // 8, program)
    PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0
    ):
        sys.stderr.write("the sandbox could not be tightened\n")
        os._exit(120)


def failure(error):
    """What a judge may know of an exception: class names, message, line in the program."""
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


def load(code, name):
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(code, "solution.py", "exec"), module.__dict__)
    return module


def run(code):
    sys.argv = ["solution.py"]
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    main.__dict__["__builtins__"] = builtins
    exec(compile(code, "solution.py", "exec"), main.__dict__)


def serve(pipe, code):
    """Answer calls until the pipe ends."""
    kept = []

    def keep(value):
        kept.append(value)
        return len(kept) - 1

    def revive(value):
        if isinstance(value, Opaque):
            return kept[value.ref]
        if type(value) is Items:
            return iter([revive(item) for item in value])
        if type(value) in (list, tuple):
            return type(value)(revive(item) for item in value)
        if type(value) is dict:
            return {key: revive(item) for key, item in value.items()}
        return value

    def answer(work):
        try:
            result = {"value": work()}
        except BaseException as error:
            result = failure(error)
        try:
            pipe.write(result, keep)
        except BaseException as error:
            pipe.write(
                failure(error)
                if not isinstance(error, WireError)
                else {"error": ["ResultError"], "message": str(error), "line": None}
            )

    module = [None]

    def start():
        module[0] = load(code, "solution")
        return True

    answer(start)
    while True:
        request = pipe.read()

        def call(request=request):
            target = kept[request["ref"]] if request["ref"] is not None else module[0]
            for part in request["name"].split(".") if request["name"] not in ("", "__setattr__") else ():
                target = getattr(target, part)
            if request["get"]:
                return target
            if request["name"] == "__setattr__":
                name, value = request["args"]
                setattr(target, name, revive(value))
                return None
            positional = [revive(item) for item in request["args"]]
            return target(*positional, **{key: revive(item) for key, item in request["kwargs"].items()})

        answer(call)


class Remote:
    """In the tester: an object that lives in the candidate's sandbox."""

    __slots__ = ("_pipe", "_ref", "_name", "_shown")

    def __init__(self, pipe, ref, name, shown=""):
        object.__setattr__(self, "_pipe", pipe)
        object.__setattr__(self, "_ref", ref)
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_shown", shown)

    def __call__(self, *args, **kwargs):
        return ask(self._pipe, self._ref, self._name, args, kwargs)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if self._ref is None:
            return Remote(self._pipe, None, f"{self._name}.{name}")
        return ask(self._pipe, self._ref, name, (), {}, get=True)

    def __setattr__(self, name, value):
        ask(self._pipe, self._ref, "__setattr__", (name, value), {})

    def __repr__(self):
        return self._shown or self._name


def ask(pipe, ref, name, args, kwargs, get=False):
    """A call in the candidate's sandbox: its value here, or its exception as the nearest builtin one."""

    def flat(value):
        if isinstance(value, Remote):
            if value._ref is None:
                raise TypeError("functions of the program cannot be passed to the program")
            return Opaque(value._ref, "object", "")
        if type(value) in (list, tuple, set, frozenset):
            return type(value)(flat(item) for item in value)
        if type(value) is dict:
            return {key: flat(item) for key, item in value.items()}
        return value

    pipe.write(
        {
            "ref": ref,
            "name": name,
            "args": [flat(a) for a in args],
            "kwargs": {k: flat(v) for k, v in kwargs.items()},
            "get": get,
        }
    )
    reply = pipe.read()
    if "value" in reply:
        return local(pipe, reply["value"])
    for name in reply["error"]:
        cls = getattr(builtins, name, None)
        if isinstance(cls, type) and issubclass(cls, Exception):
            try:
                raise cls(reply["message"])
            except TypeError:
                break
    raise RuntimeError(f"{reply['error'][0]}: {reply['message']}")


def local(pipe, value):
    if isinstance(value, Opaque):
        return Remote(pipe, value.ref, "", value.shown)
    if type(value) is Items:
        return iter([local(pipe, item) for item in value])
    if type(value) in (list, tuple):
        return type(value)(local(pipe, item) for item in value)
    if type(value) is dict:
        return {key: local(pipe, item) for key, item in value.items()}
    return value


def test(pipe, statements, names):
    """Run the tests' statements in order; report one result for each that is a case."""
    scope = {"__name__": "tests", **{name: Remote(pipe, None, name) for name in names}}
    for number, (source, is_case) in enumerate(statements):
        result = {"case": number, "ok": True, "expected": None, "actual": None, "message": ""}
        try:
            check(source, scope, result)
        except AssertionError as error:
            result.update(ok=False, message=str(error)[:300])
        except BaseException as error:
            result.update(ok=False, message=f"{type(error).__name__}: {error}"[:300], crashed=True)
        if is_case or not result["ok"]:
            pipe.write(result)
    pipe.write({"done": True})


def check(source, scope, result):
    (node,) = ast.parse(source).body
    compared = node.test if isinstance(node, ast.Assert) else None
    if isinstance(compared, ast.Compare) and len(compared.ops) == 1 and isinstance(compared.ops[0], ast.Eq):
        left = eval(compile(ast.Expression(compared.left), "tests", "eval"), scope)
        right = eval(compile(ast.Expression(compared.comparators[0]), "tests", "eval"), scope)
        result.update(
            actual=shown(left),
            expected=shown(right),
            ok=bool(left == right) and not (type(left) is bool) ^ (type(right) is bool),
        )
        return
    exec(compile(ast.Module([node], []), "tests", "exec"), scope)
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test") and not node.args.args:
        scope[node.name]()


def shown(value):
    try:
        return repr(value)[:300]
    except Exception as error:
        return f"<repr raises {type(error).__name__}>"


def main():
    source, sink = 3, 4  # the launcher puts the pipes there
    os.closerange(sink + 1, 4096)
    pipe = Pipe(source, sink)
    order = pipe.read()
    if order["mode"] == "run":
        os.close(source)
        os.close(sink)
    tighten(order["limits"], order["filter"])
    if order["mode"] == "run":
        run(order["code"])
    elif order["mode"] == "serve":
        serve(pipe, order["code"])
    else:
        test(pipe, order["statements"], order["names"])


main()
