"""What a program's syntax tree says about its intentions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from crucible.config.policy import Action, Policy, action_of, strictest
from crucible.languages.python.checks.bombs import ENDLESS, huge
from crucible.languages.python.checks.facts import DECODED, SPELLED, Facts
from crucible.languages.python.checks.finding import finding
from crucible.types import Feedback

_RUNS = re.compile(r"builtins\.(exec|eval|compile)|code\.Interactive\w+")
_MAKES = ("types.FunctionType", "types.LambdaType", "types.CodeType")
_NOT_EVAL = ("builtins.exec", "builtins.compile", *_MAKES)
"""What no honest program gives a text spelled out of numbers. To eval, puzzles of digits and letters do."""
_IMPORTS = re.compile(
    r"builtins\.__import__|importlib\.(import_module|__import__|reload)|importlib\.(util|machinery)\.\w+|imp\.\w+"
    r"|runpy\.\w+|pkgutil\.(get_loader|find_loader|resolve_name)|zipimport\.\w+"
)
_PROCESSES = re.compile(
    r"(os|posix|nt)\.(system|popen|forkp?t?y?|exec[vl]\w*|spawn\w+|posix_spawnp?|startfile|kill|killpg|abort|_exit)"
    r"|pty\.(spawn|fork)|asyncio\.(subprocess\.)?create_subprocess_\w+|platform\.popen"
)
_FRAMES = re.compile(
    r"sys\.(_getframe|_getframemodulename|_current_frames|settrace|setprofile|monitoring)|threading\.set(trace|profile)\w*"
    r"|inspect\.(currentframe|stack|trace|getouterframes|getinnerframes)"
)
_HEAP = re.compile(r"gc\.get_(objects|referrers|referents)")
_FINDERS = re.compile(r"sys\.(meta_path|path_hooks|path_importer_cache|addaudithook)")
_LOOKUPS = re.compile(r"builtins\.([gs]et|del)attr|operator\.(attrgetter|methodcaller)|inspect\.getattr_static")
_POWERFUL = ("builtins", "ctypes", "gc", "importlib", "nt", "os", "posix", "socket", "subprocess", "sys")

_FRAME_PARTS = re.compile(r"f_(back|globals|locals|builtins|code|trace)|tb_(frame|next)|(gi|cr|ag)_(frame|code)")
_REVEALING = re.compile(
    r"__(?:subclasses|globals|builtins|code|closure|mro|bases?|reduce|reduce_ex|loader|spec|import|self)__|\bcell_contents\b"
)


class _Found(NamedTuple):
    rule: str
    message: str
    action: Action = "allow"


def judge_tree(code: str, tree: ast.Module, policy: Policy) -> Iterator[Feedback]:
    """The findings of rules CR3 to CR6 about `tree`, parsed from `code`. policy: which modules are worth a word."""
    lines = re.split(r"\r\n?|\n", code)
    facts = Facts(tree)
    for node, found in _findings(facts, policy):
        line, offset = getattr(node, "lineno", None), getattr(node, "col_offset", None)
        if offset is not None and line is not None and line <= len(lines):  # Python counts in bytes
            offset = len(lines[line - 1].encode()[:offset].decode("utf-8", "ignore")) + 1
        yield finding(found.rule, found.message, line, offset).model_copy(update={"action": found.action})


def _findings(facts: Facts, policy: Policy) -> Iterator[tuple[ast.AST, _Found]]:
    inner = {child for node in facts.text for child in ast.iter_child_nodes(node)}
    for node in facts.nodes:
        for found in _imports(node, facts, policy):
            yield node, found
        for found in _changes(node, facts):
            yield node, found
        if isinstance(node, ast.Call):
            for found in _call(node, facts):
                yield node, found
        for found in _mention(node, facts, whole=node not in inner):
            yield node, found
    for expression, size in huge(facts.nodes):
        amount = "without end" if size == ENDLESS else f"of about {size / 2**10:,.0f} KiB"
        yield expression, _Found("CR601", f"makes a value {amount} from constants")


# ------------------------------------------------------------- modules


def _imports(node: ast.AST, facts: Facts, policy: Policy) -> Iterator[_Found]:
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    elif isinstance(node, ast.Call) and node in facts.thing and _IMPORTS.fullmatch(facts.thing.get(node.func, "")):
        modules = [facts.thing[node]]
    else:
        return
    judged = [(action_of(policy, module), module) for module in modules]
    action = strictest(*(judgement for judgement, _ in judged))
    if action != "allow":
        module = next(module for judgement, module in judged if judgement == action)
        why = "the policy forbids it" if action == "deny" else "a function that computes does not need it"
        yield _Found("CR301", f"imports {module}: {why}", action)


# ------------------------------------------------------------- expressions


def _mention(node: ast.AST, facts: Facts, *, whole: bool) -> Iterator[_Found]:
    """What the mere mention of something says. whole: the node is no part of a text that folds."""
    thing = facts.thing.get(node, "")
    if thing and isinstance(node, ast.expr):
        yield from _powers(thing)
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    if _FRAME_PARTS.fullmatch(name):
        yield _Found("CR502", f"walks or traces frames ({name})")
    if isinstance(node, ast.Name) and name == "__import__":
        return
    revealed = _REVEALING.fullmatch(name) or (whole and _REVEALING.search(facts.text.get(node, "")))
    if revealed:
        yield _Found("CR501", f"reaches into the interpreter ({revealed[0]})")


def _powers(thing: str) -> Iterator[_Found]:
    shown = thing.removeprefix("builtins.")
    if _RUNS.fullmatch(thing):
        yield _Found("CR402", f"runs text as code, or hands on what does ({shown})")
    if _IMPORTS.fullmatch(thing) and thing != "importlib.import_module":
        yield _Found("CR302", f"imports by a call ({shown})")
    if _PROCESSES.fullmatch(thing):
        yield _Found("CR303", f"starts or ends a process or a shell ({thing})")
    if _FRAMES.fullmatch(thing):
        yield _Found("CR502", f"walks or traces frames ({thing})")
    if _HEAP.fullmatch(thing):
        yield _Found("CR503", f"searches the heap ({thing})")
    if _FINDERS.fullmatch(thing):
        yield _Found("CR504", f"changes how modules are found ({thing})")


def _call(node: ast.Call, facts: Facts) -> Iterator[_Found]:
    function = facts.thing.get(node.func, "")
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    runs = [facts.thing.get(part, "") for part in (node.func, *given)]
    hidden = max((facts.hidden.get(part, 0) for part in (node.func, *given)), default=0)
    if function in _MAKES:
        yield _Found("CR402", f"makes a function of a code object ({function})")
    executes = function in _MAKES or any(_RUNS.fullmatch(run) for run in runs)
    if executes and (hidden == DECODED or (hidden == SPELLED and not {*runs}.isdisjoint(_NOT_EVAL))):
        yield _Found("CR401", "executes a text that it decodes or spells out first; write the code itself")
    if _IMPORTS.fullmatch(function) and given and not isinstance(given[0], ast.Constant):
        shown = function.removeprefix("builtins.")
        message = f"imports a module by a name put together at run time ({shown}{_named(given[0], facts)})"
        yield _Found("CR302", message)
    if _LOOKUPS.fullmatch(function) and given:
        key = given[0] if function.startswith("operator.") else given[1] if len(given) > 1 else None
        home = "" if key is given[0] else facts.thing.get(given[0], "")
        if key is not None and _put_together(key, home, facts):
            shown = function.rpartition(".")[2] + _named(key, facts)
            yield _Found("CR403", f"looks up an attribute by a name put together at run time ({shown})")


def _put_together(key: ast.expr, home: str, facts: Facts) -> bool:
    """Whether a name is hidden. Honest programs pass names on, and put a plain word before them (`f"visit_{kind}"`)."""
    if isinstance(key, ast.Constant):
        return False
    if key in facts.text or key in facts.hidden or home in _POWERFUL:
        return True
    return isinstance(key, ast.Call) and isinstance(key.func, ast.Attribute) and key.func.attr == "join"


def _named(node: ast.expr, facts: Facts) -> str:
    return f": {facts.text[node]!a}" if node in facts.text else ""


# ------------------------------------------------------------- changes


def _changes(node: ast.AST, facts: Facts) -> Iterator[_Found]:
    home = ""
    if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        home = facts.thing.get(node.value, "")
    elif isinstance(node, ast.Call) and facts.thing.get(node.func, "") in ("builtins.setattr", "builtins.delattr"):
        home = facts.thing.get(node.args[0], "") if node.args else ""
    if home in ("builtins", "sys.modules") or _FINDERS.fullmatch(home):
        yield _Found("CR504", f"changes {home}")
