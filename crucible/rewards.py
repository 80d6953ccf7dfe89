"""What an attempt is worth: components from 0 to 1, each by itself, and their weighted mean.

Every component is a plain function of a `RewardInput` and the settings. It returns None where it cannot be known, which
leaves it out. Only `tests` says that a program is right, and only by the judge's word where that is beyond doubt: a pass
that the program could have claimed itself, a timeout, or no verdict at all earns nothing there. The other components can
be had without solving anything, so they are worth what their weights (`rewards` in the settings) let them be.

What this does not promise: that the tests are good ones. Tests that the loop saw can be fitted to; a trainer takes
the verdict of hidden ones.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import TypeGuard

from pydantic import Field

from crucible.config import RewardSettings
from crucible.languages.python.checks.source import parse
from crucible.types import Attempt, Feedback, FindingKind, Frozen, Verdict

LOST = frozenset({"timeout", "killed", "protocol"})
"""How a case ends after which nothing that the program said counts."""
LEAST_CPU_S = 0.01
"""CPU seconds that no clock tells apart: a reference that took less counts as this."""
LEAST_MIB = 1.0
CHARS_PER_TOKEN = 4.0
"""Where tokens were not counted; about what code models' tokenizers make of Python."""
LINT = {"error": 1.0, "warning": 0.25, "info": 0.0}
SECURITY = {"error": 1.0, "warning": 0.3, "info": 0.1}
"""What one finding takes, by severity: a component is 1 / (1 + their sum)."""


class Usage(Frozen):
    """The resources a reference program took. 0: not measured."""

    cpu_s: float = Field(0.0, ge=0)
    memory_mib: float = Field(0.0, ge=0)
    tokens: int = Field(0, ge=0)


class RewardInput(Frozen):
    """One attempt, as far as its worth depends on it."""

    code: str
    verdict: Verdict | None = None
    findings: tuple[Feedback, ...] = ()
    completion_tokens: int = Field(0, ge=0)
    """0: not counted; then the code's characters stand for them."""
    reference: Usage | None = None

    @classmethod
    def of(cls, attempt: Attempt) -> RewardInput:
        """As it was recorded, without a reference."""
        return cls(
            code=attempt.code,
            verdict=attempt.verdict,
            findings=attempt.findings,
            completion_tokens=attempt.completion_tokens,
        )


Component = Callable[[RewardInput, RewardSettings], float | None]


def tests(given: RewardInput, settings: RewardSettings) -> float:
    """The share of cases that pass, less the bonus; 1 where all do. 0 where the verdict is not beyond doubt."""
    if not _certain(given.verdict):
        return 0.0
    if _passes(given.verdict):
        return 1.0
    return min(1.0, given.verdict.fraction) * (1.0 - settings.all_tests_bonus)


def syntax(given: RewardInput, settings: RewardSettings) -> float:
    """1 for what parses and holds a statement."""
    return 0.0 if _program(given.code) is None else 1.0


def lint(given: RewardInput, settings: RewardSettings) -> float:
    """Findings of the linter and of types. Without static checks (`tools.static_analysis`) there are none to lose by."""
    kinds = (FindingKind.LINT, FindingKind.TYPE, FindingKind.STYLE)
    return _fewness(LINT[found.severity] for found in given.findings if found.kind in kinds)


def style(given: RewardInput, settings: RewardSettings) -> float:
    """Half for the most complex function, half for the longest line; each falls as limit / value."""
    program = _program(given.code)
    if program is None:
        return 0.0
    longest = max(map(len, given.code.splitlines()))
    return (_within(complexity(program), settings.complexity_limit) + _within(longest, settings.line_limit)) / 2


def speed(given: RewardInput, settings: RewardSettings) -> float | None:
    """CPU seconds, all cases together, against the reference's. What is not right is not fast."""
    if given.reference is None or not given.reference.cpu_s:
        return None
    if not _certain(given.verdict) or not _passes(given.verdict):
        return 0.0
    return _economy(given.verdict.cpu_s, max(given.reference.cpu_s, LEAST_CPU_S))


def memory(given: RewardInput, settings: RewardSettings) -> float | None:
    """Peak memory against the reference's. What is not right is not small."""
    if given.reference is None or not given.reference.memory_mib:
        return None
    if not _certain(given.verdict) or not _passes(given.verdict):
        return 0.0
    return _economy(given.verdict.memory_mib, max(given.reference.memory_mib, LEAST_MIB))


def security(given: RewardInput, settings: RewardSettings) -> float:
    """Findings of the security rules, by severity; 0 for anything that the policy denies."""
    if any(found.action == "deny" for found in given.findings):
        return 0.0
    return _fewness(SECURITY[found.severity] for found in given.findings if found.kind is FindingKind.SECURITY)


def length(given: RewardInput, settings: RewardSettings) -> float:
    """Tokens of the answer against the reference's, else against the soft limit; 0 for no code."""
    if not given.code.strip():
        return 0.0
    tokens = given.completion_tokens or len(given.code) / CHARS_PER_TOKEN
    return _within(tokens, (given.reference and given.reference.tokens) or settings.length_limit)


COMPONENTS: Mapping[str, Component] = {
    "tests": tests,
    "syntax": syntax,
    "lint": lint,
    "style": style,
    "speed": speed,
    "memory": memory,
    "security": security,
    "length": length,
}
"""By name, as `RewardSettings` weighs them."""


QUALITY = ("lint", "style", "security")
"""Components that say how well a program is written, whether or not it is right."""


def quality(rewards: Mapping[str, float]) -> float | None:
    """The plain mean of the QUALITY components, from 0 to 1; None where none is known."""
    known = [rewards[name] for name in QUALITY if name in rewards]
    return sum(known) / len(known) if known else None


class Means(Frozen):
    """Over attempts; None where no attempt has rewards. An attempt without any counts as a reward of 0."""

    reward: float | None = None
    quality: float | None = None

    @classmethod
    def of(cls, rewards: Iterable[Mapping[str, float]]) -> Means:
        found = list(rewards)
        known = [value for each in found if (value := quality(each)) is not None]
        return cls(
            reward=sum(each.get("total", 0.0) for each in found) / len(found) if any(found) else None,
            quality=sum(known) / len(known) if known else None,
        )


class Rewards:
    """The components under one set of weights."""

    def __init__(self, settings: RewardSettings) -> None:
        self._settings = settings

    def score(self, given: RewardInput) -> dict[str, float]:
        """Every component that can be known, and `total`: their mean by weight, from 0 to 1.

        What is no program has 0 in each. Where nothing of weight can be known, the total is 0."""
        if not syntax(given, self._settings):
            return {**dict.fromkeys(COMPONENTS, 0.0), "total": 0.0}
        values = {name: component(given, self._settings) for name, component in COMPONENTS.items()}
        known = {name: value for name, value in values.items() if value is not None}
        weights = self._settings.weights
        weight = sum(weights[name] for name in known)
        total = sum(weights[name] * value for name, value in known.items()) / weight if weight else 0.0
        return {**known, "total": min(1.0, total)}


def complexity(program: ast.Module) -> int:
    """The largest cyclomatic complexity of a function, or of what stands outside of functions
    (McCabe 1976, IEEE Trans. Softw. Eng. SE-2, 308-320): 1 and one for every branch, every `and`/`or`, every
    comprehension's loop and condition. A function within a function counts by itself."""
    worst = 0
    scopes: list[ast.AST] = [program]
    while scopes:
        branches, inside = 1, list(ast.iter_child_nodes(scopes.pop()))
        while inside:
            node = inside.pop()
            branches += _branches(node)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                scopes.append(node)
            else:
                inside.extend(ast.iter_child_nodes(node))
        worst = max(worst, branches)
    return worst


def _branches(node: ast.AST) -> int:
    match node:
        case ast.If() | ast.IfExp() | ast.For() | ast.AsyncFor() | ast.While() | ast.ExceptHandler() | ast.match_case():
            return 1
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
    return 0


def _program(code: str) -> ast.Module | None:
    """The syntax tree; None for what does not parse, or says nothing."""
    try:
        tree = parse(code)
    except SyntaxError:
        return None
    return tree if tree.body else None


def _certain(verdict: Verdict | None) -> TypeGuard[Verdict]:
    """Whether the program cannot have brought this verdict about other than by its answers."""
    return verdict is not None and verdict.trust == "full" and not any(case.status in LOST for case in verdict.cases)


def _passes(verdict: Verdict) -> bool:
    return verdict.verdict == "pass" and verdict.passed == verdict.total > 0


def _economy(used: float, allowed: float) -> float | None:
    return _within(used, allowed) if used > 0 else None  # 0: not measured


def _within(used: float, allowed: float) -> float:
    """1 up to `allowed`, from there on falling to 0."""
    return 1.0 if used <= allowed else allowed / used


def _fewness(losses: Iterable[float]) -> float:
    return 1.0 / (1.0 + sum(losses))
