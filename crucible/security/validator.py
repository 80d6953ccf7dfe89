"""Static checks before anything runs: advice and a gate, never the boundary.

A program can always hide from static checks; the sandbox does not rely on them. What cannot be honest is not run, what is
seldom needed waits for a yes, as the policy of the settings says (`tools.policy`, `config.policy`).

Every language brings its own validator: an entry point in the group `crucible.validators`, named as the language, that
makes one from a policy. Python's is registered the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import entry_points
from typing import ClassVar, Protocol

from crucible.config.policy import Policy, action_of, strictest
from crucible.errors import InputError, MissingPartError
from crucible.languages.python.checks.characters import odd_characters
from crucible.languages.python.checks.finding import short
from crucible.languages.python.checks.lint import lint
from crucible.languages.python.checks.names import deceptive_names
from crucible.languages.python.checks.rules import judge_tree
from crucible.languages.python.checks.source import parse, unreadable
from crucible.types import Feedback, FindingKind

__all__ = ["PythonValidator", "Validator", "load_validator", "validate"]

GROUP = "crucible.validators"
MAX_PER_RULE = 5
"""Findings of one rule that are worth saying."""


class Validator(Protocol):
    """The static checks of one language."""

    language: ClassVar[str]

    def validate(self, source: str) -> tuple[Feedback, ...]:
        """Return what is to be said about a program. Never raises for what it holds; each finding names its rule."""
        ...


class PythonValidator:
    """Characters, names, syntax tree, and ruff. policy: the modules worth a word are those it does not allow."""

    language: ClassVar[str] = "python"

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def validate(self, source: str) -> tuple[Feedback, ...]:
        found = tuple(own_findings(source, self._policy))
        if any(one.kind is FindingKind.SYNTAX for one in found):
            return found
        return (*found, *lint(source))


def own_findings(source: str, policy: Policy) -> Iterator[Feedback]:
    """Return what our own rules say, without ruff's process."""
    problem = unreadable(source)
    if problem is not None:
        yield problem
        return
    yield from odd_characters(source)
    yield from deceptive_names(source)
    try:
        tree = parse(source)
    except SyntaxError as error:
        message = short(f"syntax error: {error.msg}")
        yield Feedback(
            kind=FindingKind.SYNTAX, severity="error", message=message, line=error.lineno, column=error.offset
        )
        return
    yield from judge_tree(source, tree, policy)


def languages() -> tuple[str, ...]:
    """The languages whose programs something checks, by name."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_validator(language: str, policy: Policy) -> Callable[[str], tuple[Feedback, ...]]:
    """The checks of `language`, with what `policy` says of each finding. Raises InputError where there are none."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    if language not in points:
        if language == PythonValidator.language:
            raise MissingPartError(f"no entry point {GROUP} for python: reinstall with `pip install -e .`")
        raise InputError(
            f"nothing checks programs in {language!r} before they run; install a package with an entry point "
            f"{language!r} in {GROUP}, or choose: {', '.join(sorted(points))}"
        )
    package = points[language].dist
    try:
        validator: Validator = points[language].load()(policy)
    except Exception as error:  # a plugin's import may raise anything at all
        raise InputError(
            f"the validator of {language!r} of {package.name if package else '?'} cannot be loaded "
            f"({type(error).__name__}: {error}); fix or uninstall it"
        ) from error
    return partial(_checked, validator, policy)


def validate(code: str, policy: Policy | None = None) -> tuple[Feedback, ...]:
    """Return what is to be said about a Python program, the worst first. policy: by default the packaged one.

    Never raises for what the program holds; raises MissingPartError without ruff."""
    from crucible.config import default_policy

    policy = default_policy() if policy is None else policy
    return _checked(PythonValidator(policy), policy, code)


def _checked(validator: Validator, policy: Policy, code: str) -> tuple[Feedback, ...]:
    judged = (_judged(found, policy) for found in _said_once(validator.validate(code)))
    order = ("deny", "ask", "allow")
    ranked = sorted(judged, key=lambda found: (found.severity != "error", order.index(found.action)))
    counts: Counter[str | None] = Counter()
    kept = []
    for found in ranked:
        counts[found.rule] += 1
        if counts[found.rule] <= MAX_PER_RULE:
            kept.append(found)
    return tuple(kept)


def _said_once(findings: Iterable[Feedback]) -> Iterator[Feedback]:
    """One finding of a rule a line: the rest of the line would say it again."""
    seen = set()
    for found in findings:
        key = (found.rule, found.line, found.action, None if found.rule else found.message)
        if key not in seen:
            seen.add(key)
            yield found


def _judged(found: Feedback, policy: Policy) -> Feedback:
    """With what the policy says of it. What is denied is an error, so that the model is told why."""
    action = strictest(found.action, action_of(policy, found.rule) if found.rule else "allow")
    return found.model_copy(update={"action": action, "severity": "error" if action == "deny" else found.severity})
