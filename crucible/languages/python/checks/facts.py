"""What can be told about a program's expressions without running any of it.

One pass from the leaves to the root notes for every expression the text it folds to, the module, builtin or part of one it
stands for, and whether it holds a text that was hidden. Names carry what was assigned to them anywhere in the program, in
whatever order and scope: too much rather than too little. Passes are repeated while they learn names, a few times at most.
Nothing recurses, so depth does no harm, and nothing is evaluated but slices and joins of short texts.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator

MAX_PASSES = 6
MAX_TEXT = 1000
"""Characters of a folded text; more is no name."""

_DECODERS = re.compile(
    r"(standard_|urlsafe_)?[abz]?(16|32|32hex|64|85)decode|decode(bytes|string)|unhexlify|a2b_\w+|fromhex|decompress(obj)?|decrypt"
)
_LOADERS = frozenset(["marshal.loads", "marshal.load", "pickle.loads", "pickle.load", "codecs.decode"])
_SPELLERS = frozenset(["builtins.chr", "builtins.bytes", "builtins.bytearray"])
DECODED, SPELLED = 2, 1
"""How much a text was hidden: decoded from another form, or spelled out of numbers or backwards."""
_WORTH_A_STAR = ("os", "posix", "nt", "sys", "gc", "importlib", "builtins", "types", "marshal")
"""Modules whose names are known by `from … import *`, too."""
_PLAIN = ("utf-8", "utf8", "ascii", "latin-1", "latin1")
_BUILTINS = frozenset(dir(builtins))
_METHODS = frozenset(
    [
        "lower",
        "upper",
        "strip",
        "lstrip",
        "rstrip",
        "swapcase",
        "casefold",
        "capitalize",
        "removeprefix",
        "removesuffix",
    ]
)


class Facts:
    """nodes: parents before their children. text, thing, hidden (DECODED or SPELLED): see above, by node."""

    def __init__(self, tree: ast.Module) -> None:
        self.nodes = list(ast.walk(tree))
        self.text: dict[ast.AST, str] = {}
        self.thing: dict[ast.AST, str] = {}
        self.hidden: dict[ast.AST, int] = {}
        self._names: dict[str, str] = {}
        self._hiding: dict[str, int] = {}
        self._parameters: dict[str, list[str]] = {}
        self._star = ""
        self._own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        for _ in range(MAX_PASSES):
            known = self._learned()
            for node in reversed(self.nodes):
                self._note(node)
            if known == self._learned():
                break

    def _learned(self) -> tuple[int, int, int]:
        return len(self._names), sum(self._hiding.values()), len(self._parameters)

    def _note(self, node: ast.AST) -> None:
        text = self._folded(node)
        if text is not None:
            self.text[node] = text[:MAX_TEXT]
        thing = self._meant(node)
        if thing is not None:
            self.thing[node] = thing
        hidden = max((self.hidden.get(child, 0) for child in ast.iter_child_nodes(node)), default=0)
        if hidden := max(hidden, self._hides(node)):
            self.hidden[node] = hidden
        self._name(node)

    # ------------------------------------------------------------- texts

    def _folded(self, node: ast.AST) -> str | None:
        if isinstance(node, ast.Constant):
            value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            return value if isinstance(value, str) else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._joined("", [node.left, node.right])
        if isinstance(node, ast.JoinedStr):
            return self._joined("", node.values)
        if isinstance(node, ast.FormattedValue):
            return self.text.get(node.value) if node.format_spec is None else None
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice) and node.value in self.text:
            start, stop, step = map(_integer, (node.slice.lower, node.slice.upper, node.slice.step))
            if isinstance(start, str) or isinstance(stop, str) or isinstance(step, str) or step == 0:
                return None
            return self.text[node.value][start:stop:step]
        return self._called(node) if isinstance(node, ast.Call) else None

    def _called(self, node: ast.Call) -> str | None:
        """The text that a method of a text, or str, chr or reversed of one, gives."""
        function, texts = node.func, [self.text.get(argument) for argument in node.args]
        if isinstance(function, ast.Attribute) and function.value in self.text:
            base = self.text[function.value]
            if function.attr == "join" and len(node.args) == 1:
                parts = node.args[0]
                if isinstance(parts, ast.List | ast.Tuple):
                    return self._joined(base, parts.elts)
                return base.join(texts[0]) if texts[0] is not None and len(texts[0]) * len(base) <= MAX_TEXT else None
            if function.attr == "replace" and len(texts) == 2 and texts[0] and texts[1] is not None:
                return base.replace(texts[0], texts[1]) if len(base) * (1 + len(texts[1])) <= MAX_TEXT**2 else None
            if function.attr in ("decode", "encode"):
                return base
            given = [text for text in texts if text is not None]
            if function.attr in _METHODS and len(given) == len(texts) and len(given) <= 1:
                try:
                    return str(getattr(base, function.attr)(*given))
                except TypeError:
                    return None
        name = self.thing.get(function)
        if name == "builtins.chr" and len(node.args) == 1:
            code = _integer(node.args[0])
            return chr(code) if isinstance(code, int) and 0 <= code <= 0x10FFFF else None
        if name == "builtins.reversed" and texts and texts[0] is not None:
            return texts[0][::-1]
        return texts[0] if name in ("builtins.str", "sys.intern") and texts else None

    def _joined(self, between: str, parts: list[ast.expr]) -> str | None:
        texts = [self.text[part] for part in parts if part in self.text]
        if len(texts) != len(parts) or sum(map(len, texts)) + len(between) * len(texts) > MAX_TEXT:
            return None
        return between.join(texts)

    # ------------------------------------------------------------- modules and builtins

    def _meant(self, node: ast.AST) -> str | None:
        """The dotted name of what an expression stands for: "os.system", "builtins.exec"."""
        if isinstance(node, ast.Name):
            if node.id in self._names:
                return self._names[node.id]
            if node.id == "__builtins__":
                return "builtins"
            if node.id in _BUILTINS and node.id not in self._own:
                return f"builtins.{node.id}"
            return f"{self._star}.{node.id}" if self._star else None
        if isinstance(node, ast.NamedExpr):
            return self.thing.get(node.value)
        if isinstance(node, ast.Attribute):
            return self._part(self.thing.get(node.value), node.attr)
        if isinstance(node, ast.Subscript):
            key = self.text.get(node.slice)
            return self._part(self.thing.get(node.value), key) if key is not None else None
        if isinstance(node, ast.Call):
            return self._result(node, self.thing.get(node.func))
        return None

    def _part(self, whole: str | None, name: str) -> str | None:
        if name == "__builtins__":
            return "builtins"
        if whole is None:
            return None
        if whole == "sys.modules":
            return name
        if name == "__self__" and whole.startswith("builtins."):
            return "builtins"
        return whole if name == "__dict__" else f"{whole}.{name}"

    def _result(self, node: ast.Call, function: str | None) -> str | None:
        arguments = node.args
        if function in ("builtins.__import__", "importlib.import_module", "importlib.__import__") and arguments:
            return self.text.get(arguments[0])
        if function == "builtins.getattr" and len(arguments) > 1 and arguments[1] in self.text:
            return self._part(self.thing.get(arguments[0]), self.text[arguments[1]])
        if function in ("builtins.vars", "builtins.dir") and arguments:
            return self.thing.get(arguments[0])
        return None

    # ------------------------------------------------------------- what is hidden

    def _hides(self, node: ast.AST) -> int:
        if isinstance(node, ast.Name):
            return max(self._hiding.get(node.id, 0), SPELLED if self.thing.get(node) in _SPELLERS else 0)
        if isinstance(node, ast.Attribute):
            return self._hiding.get(node.attr, 0)
        if isinstance(node, ast.Subscript):
            return SPELLED if isinstance(node.slice, ast.Slice) and _backwards(node.slice) else 0
        if not isinstance(node, ast.Call):
            return 0
        name = self.thing.get(node.func, "")
        attribute = node.func.attr if isinstance(node.func, ast.Attribute) else name.rpartition(".")[2]
        if attribute == "decode" and name != "codecs.decode":
            encoding = self.text.get(node.args[0], "?").lower().replace("_", "-") if node.args else "utf-8"
            return 0 if encoding in _PLAIN else DECODED
        if _DECODERS.fullmatch(attribute) or name in _LOADERS:
            return DECODED
        return SPELLED if attribute == "to_bytes" else 0

    def _carry(self, name: str, hidden: int) -> None:
        if hidden > self._hiding.get(name, 0):
            self._hiding[name] = hidden

    # ------------------------------------------------------------- names

    def _name(self, node: ast.AST) -> None:
        """Carry what an expression is over to the names it is assigned to."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            home = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                local = alias.asname or alias.name.partition(".")[0]
                self._names[local] = f"{home}.{alias.name}" if home else alias.name if alias.asname else local
                if local == "*" and home in _WORTH_A_STAR:
                    self._star = home
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not isinstance(node, ast.ClassDef):
                self._parameters[node.name] = _parameters(node.args)
            self._carry(node.name, self.hidden.get(node, 0))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            passed = [*node.args, *(keyword.value for keyword in node.keywords)]
            hidden = max((self.hidden.get(argument, 0) for argument in passed), default=0)
            for parameter in self._parameters.get(node.func.id, ()):
                self._carry(parameter, hidden)
        for target, value in _assigned(node):
            for part in ast.walk(target) if isinstance(target, ast.Tuple | ast.List) else [target]:
                name = part.id if isinstance(part, ast.Name) else part.attr if isinstance(part, ast.Attribute) else None
                if name is None:
                    continue
                if isinstance(value, ast.Lambda):
                    self._parameters[name] = _parameters(value.args)
                self._carry(name, self.hidden.get(value, 0))
                if value in self.thing and part is target and isinstance(part, ast.Name):
                    self._names.setdefault(name, self.thing[value])


def _assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(target, value) of everything that gives names."""
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
        if node.value is not None:
            yield node.target, node.value
    elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        yield node.target, node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, node.context_expr


def _parameters(arguments: ast.arguments) -> list[str]:
    return [parameter.arg for parameter in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _integer(node: ast.expr | None) -> int | str | None:
    """The integer a node spells, None for no node, "?" for anything else."""
    if node is None:
        return None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _integer(node.operand)
        return -inner if isinstance(inner, int) else "?"
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else "?"


def _backwards(bounds: ast.Slice) -> bool:
    step = _integer(bounds.step)
    return isinstance(step, int) and step < 0
