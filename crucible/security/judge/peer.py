"""Both ends of a test that runs in one sandbox against a program in another; the judge passes the messages on.

Its source, compiled, goes to both sandboxes with their orders and runs in the guest's namespace. Plain values travel as
copies; any other object stays where it is, and the other side gets a `Remote` that asks for what it is asked. One side
talks at a time: whoever waits for an answer serves the requests that come before it.

The tester's side trusts nothing: what the program's side may do with the tests' objects is limited by `permitted`. Equality
of a remote object with a plain value is never the program's to decide; nor is arithmetic or order, but for objects that
the tests made by calling a class: an answer that claims to be near every number is no number. Where a test rests on
the program's own word (its comparison of two of its objects) or on what the program did to an argument, the result says
so ("claimed").
"""

import builtins
import operator

MISSING = object()
TYPES = (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, object, type(None))
NUMERIC = "add sub mul matmul truediv floordiv mod pow and_ or_ xor lshift rshift divmod lt le gt ge".split()
DECIDING = ("eq", "ne", "lt", "le", "gt", "ge", "contains", "bool", "isinstance")


def _exit(manager):
    return type(manager).__exit__(manager, None, None, None)


def _operators():
    binary = "add sub mul matmul truediv floordiv mod pow and_ or_ xor lshift rshift".split()
    compared = "eq ne lt le gt ge".split()
    unary = "neg pos invert index contains getitem setitem delitem".split()
    found = {name: getattr(operator, name) for name in binary + compared + unary}
    functions = "len iter next reversed bool str repr hash int float complex abs round format isinstance divmod".split()
    for name in functions:
        found[name] = getattr(builtins, name)
    found["enter"], found["exit"] = lambda manager: type(manager).__enter__(manager), _exit
    return found


OPERATORS = _operators()


class Peer:
    def __init__(self, pipe, module):
        self.pipe, self.module = pipe, module
        self.objects, self.numbers, self.remotes, self.classes = [], {}, {}, {}
        self.methods = set()  # (kind of object, name): these are called without asking for them first
        self.claimed = False
        self.made = set()  # numbers of the program's objects that the tests made, or got from those by arithmetic

    # ---- values

    def keep(self, value):
        """The number of an object without a plain form: even for ours, odd for the other side's, negative for types
        that both have."""
        if isinstance(value, type) and value in TYPES:
            return -2 * TYPES.index(value) - 2
        if isinstance(value, Remote):
            return object.__getattribute__(value, "_number") * 2 + 1
        if isinstance(value, type) and value in self.classes.values():
            return value._number * 2 + 1
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return self.numbers[id(value)] * 2

    def revive(self, value):
        if isinstance(value, Opaque):
            if value.ref < 0:
                return TYPES[-value.ref // 2 - 1]
            if value.ref % 2:
                return self.objects[value.ref // 2]
            number = value.ref // 2
            if number not in self.remotes:
                remote = Remote(self, number, value.kind, value.shown)
                self.remotes[number] = _generator(remote) if value.kind == "generator" else remote
            return self.remotes[number]
        if type(value) in (list, tuple, set, frozenset):
            return type(value)(self.revive(item) for item in value)
        if type(value) is Items:
            return [self.revive(item) for item in value]
        if type(value) is dict:
            return {self.revive(key): self.revive(item) for key, item in value.items()}
        return value

    # ---- asking

    def ask(self, do, on=None, name="", args=(), kwargs=None):
        self.claimed |= do == "operator" and name in DECIDING
        self.pipe.write({"do": do, "on": on, "name": name, "args": list(args), "kwargs": kwargs or {}}, self.keep, True)
        while True:
            said = self.pipe.read()
            if "do" in said:
                self.serve(said)
                continue
            if "error" in said:
                raise self.exception(said)
            for index, value in said.get("changed", {}).items():
                _overwrite(args[index], self.revive(value))
                self.claimed = True
            if said.get("method"):
                self.methods.add((on._kind, name))
            return args[said["is"]] if "is" in said else self.revive(said["value"])

    def exception(self, said):
        args = self.revive(said["args"]) if said["args"] is not None else [said["message"]]
        for name in said["error"]:
            cls = self.classes.get(name) or getattr(builtins, name, None)
            if isinstance(cls, type) and issubclass(cls, BaseException):
                try:
                    return cls(*args)
                except TypeError:
                    break
        return RuntimeError(f"{said['error'][0]}: {said['message']}")

    def make(self, maker, value):
        """`value`, which the tests made where `maker` is a class of the program's or was made itself."""
        if isinstance(value, Remote) and (maker is None or maker._number in self.made):
            self.made.add(value._number)
        return value

    def plain(self, on, name, args):
        """The program's side may calculate with anything."""

    # ---- answering

    def serve(self, request):
        try:
            self.pipe.write(self.answer(request), self.keep, True)
        except WireError as error:
            self.pipe.write({"error": ["ResultError"], "message": str(error), "line": None, "args": None})
        except BaseException as error:
            said = failure(error)
            try:
                self.pipe.write({**said, "args": list(error.args)}, self.keep, True)
            except BaseException:
                self.pipe.write({**said, "args": None})

    def answer(self, request):
        do, name = request["do"], request["name"]
        sent = [encode(value, None) if _mutable(value) else None for value in request["args"]]
        args = self.revive(request["args"])
        on = self.revive(request["on"]) if request["on"] is not None else self.module
        self.permitted(do, on, name)
        if do == "describe":
            return {"value": _description(getattr(on, name, MISSING))}
        if do == "operator":
            return {"value": OPERATORS[name](*args)}
        if do == "get":
            value = getattr(on, name)
            self.permitted("have", value, name)
            return {"value": value, "method": type(value) is type(self.answer)}
        if do == "set":
            setattr(on, name, args[0])
            return {"value": None}
        kwargs = {key: self.revive(value) for key, value in request["kwargs"].items()}
        if name:
            self.permitted("get", on, name)
            on = getattr(on, name)
        value = on(*args, **kwargs)
        changed = {i: arg for i, (was, arg) in enumerate(zip(sent, args)) if was is not None and _differs(was, arg)}
        is_one = [i for i, arg in enumerate(args) if arg is value and sent[i] is not None]
        return {"value": None, "changed": changed, "is": is_one[0]} if is_one else {"value": value, "changed": changed}

    def permitted(self, do, on, name):
        """The program's side allows everything: it has nothing to lose."""


class TesterPeer(Peer):
    def plain(self, on, name, args):
        if name in NUMERIC and on._number not in self.made and not any(isinstance(arg, Remote) for arg in args):
            raise TypeError(f"the answer is an object of the program's own ({on._shown}), no plain value")

    def permitted(self, do, on, name):
        """Calling what the tests passed, and the public attributes of objects of classes that the tests define."""
        if (on is self.module and do != "operator") or (do == "have" and isinstance(on, type(sys))):
            raise PermissionError("the tests' own names are not the program's")
        if do in ("get", "set", "describe"):
            home = type(on).__module__.partition(".")[0]
            if (
                do == "describe"
                or name.startswith("_")
                or home in sys.stdlib_module_names
                or home == "builtins"
                or isinstance(on, type)
            ):
                raise PermissionError(f"{name} of a {type(on).__name__} is not the program's to use")
        changes = do == "set" or name in ("setitem", "delitem") or (do == "call" and (name or hasattr(on, "__self__")))
        self.claimed |= changes and not isinstance(on, type(len))


def _mutable(value):
    return type(value) in (list, dict, set)


def _differs(was, value):
    try:
        return encode(value, None) != was
    except WireError:
        return True


def _overwrite(ours, value):
    """What the other side did to its copy of an argument, done to the argument."""
    if type(ours) is list and type(value) is list:
        ours[:] = value
    elif type(ours) in (dict, set) and type(value) is type(ours):
        ours.clear()
        ours.update(value)


def _description(value):
    if value is MISSING:
        return {"kind": "missing"}
    if isinstance(value, type):
        return {"kind": "class", "value": value, "mro": [cls.__name__ for cls in value.__mro__]}
    return {"kind": "function" if callable(value) else "value", "value": value}


class Remote:
    """An object of the other side."""

    __slots__ = ("_peer", "_number", "_kind", "_shown")

    def __init__(self, peer, number, kind, shown):
        for name, value in zip(Remote.__slots__, (peer, number, kind, shown)):
            object.__setattr__(self, name, value)

    def __getattr__(self, name):
        if (self._kind, name) in self._peer.methods:
            return lambda *args, **kwargs: self._peer.ask("call", self, name, list(args), kwargs)
        return self._peer.ask("get", self, name)

    def __setattr__(self, name, value):
        self._peer.ask("set", self, name, [value])

    def __call__(self, *args, **kwargs):
        return self._peer.ask("call", self, "", list(args), kwargs)

    def __eq__(self, other):
        if not isinstance(other, Remote) and isinstance(self._peer, TesterPeer):
            return NotImplemented
        return self._peer.ask("operator", None, "eq", [self, other])

    def __ne__(self, other):
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self):
        return self._peer.ask("operator", None, "hash", [self])

    def __repr__(self):
        return self._peer.ask("operator", None, "repr", [self])

    def __exit__(self, *exc):
        self._peer.ask("operator", None, "exit", [self])


def _generator(remote):
    """A generator of the other side as one of ours, for tests that ask what it is."""
    while True:
        try:
            item = remote.__next__()
        except StopIteration:
            return
        yield item


def _define(method, name, swapped=False):
    def ask(self, *args):
        self._peer.plain(self, name, args)
        return self._peer.make(
            self, self._peer.ask("operator", None, name, [*args, self] if swapped else [self, *args])
        )

    setattr(Remote, method, ask)


for _name in OPERATORS:
    if f"__{_name.strip('_')}__" not in Remote.__dict__ and _name != "isinstance":
        _define(f"__{_name.strip('_')}__", _name)
for _name in "add sub mul matmul truediv floordiv mod pow and_ or_ xor lshift rshift".split():
    _define(f"__r{_name.strip('_')}__", _name, swapped=True)


class RemoteClass(type):
    """A class of the program, in the tester: calling it makes an object there."""

    def __call__(cls, *args, **kwargs):
        return cls._peer.make(None, cls._peer.ask("call", cls._remote, "", list(args), kwargs))

    def __getattr__(cls, name):
        return cls._peer.ask("get", cls._remote, name)

    def __setattr__(cls, name, value):
        cls._peer.ask("set", cls._remote, name, [value])

    def __instancecheck__(cls, value):
        return isinstance(value, Remote) and cls._peer.ask("operator", None, "isinstance", [value, cls._remote])


def stub(peer, name):
    """Return what stands for a name of the program in the tests. Raises AttributeError where the program has no such name."""
    if name.startswith("__"):
        raise AttributeError(name)
    said = peer.ask("describe", None, name)
    if said["kind"] == "missing":
        raise AttributeError(f"the program defines no {name}")
    if said["kind"] != "class":
        return said["value"]
    if name not in peer.classes:
        remote, bases = said["value"], [getattr(builtins, each, None) for each in said["mro"]]
        error = next((base for base in bases if isinstance(base, type) and issubclass(base, BaseException)), None)
        own = {"_number": object.__getattribute__(remote, "_number"), "_remote": remote, "_peer": peer}
        peer.classes[name] = type(name, (error,), own) if error else RemoteClass(name, (), own)
    return peer.classes[name]


def candidate(pipe, code):
    """The program's side: load it, then serve."""
    peer = Peer(pipe, None)

    def start():
        peer.module = load(code, "solution")
        return True

    try:
        pipe.write({"value": start()})
    except BaseException as error:
        pipe.write(failure(error))
    while True:
        peer.serve(pipe.read())
