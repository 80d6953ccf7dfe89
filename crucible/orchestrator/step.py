"""One node as LangGraph wants it: a function from State to the keys that change.

The code of a node may be anybody's, so what it returns is checked here, and what it raises becomes one line that names it.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from crucible.errors import CrucibleError, InputError
from crucible.nodes.base import Context
from crucible.nodes.registry import BUILT_IN, NodeSpec
from crucible.types import State

Step = Callable[[State], dict[str, Any]]


def step(spec: NodeSpec, context: Context) -> Step:
    """The node's `run`, bound to `context`. A coroutine is run to its end; plain dicts become what the State holds."""
    try:
        node = spec.node()
    except Exception as error:  # whatever a constructor of somebody's raises
        raise InputError(f"node {spec.name!r} cannot be made without arguments: {_said(error)}") from error

    def run(state: State) -> dict[str, Any]:
        context.check_cancelled()
        try:
            result = node.run(state, context)
            if inspect.isawaitable(result):
                result = asyncio.run(_await(result))
        except CrucibleError:
            raise
        except Exception as error:
            if spec.name in BUILT_IN and type(node).__module__.startswith("crucible."):
                raise  # a fault of ours, whose traceback is wanted
            raise InputError(f"node {spec.name!r} of {spec.package} failed: {_said(error)}") from error
        context.check_cancelled()  # what an interrupted node came to does not count: it is done again on resume
        return {**_update(spec.name, result), "spent_s": context.spent_s()}

    return run


def _update(name: str, result: object) -> dict[str, Any]:
    """The State keys that the node `name` returned. Raise InputError for what the State cannot hold."""
    if result is None:
        return {}
    if not isinstance(result, Mapping):
        raise InputError(
            f"node {name!r} returned {type(result).__name__}; it must return a dict of the State keys that change"
        )
    holds = _state()
    unknown = sorted(str(key) for key in result if key not in holds)
    if unknown:
        raise InputError(
            f"node {name!r} returned keys {unknown} that the State does not have; there are: {', '.join(holds)}"
        )
    return {key: _held(name, key, value) for key, value in result.items()}


def _held(name: str, key: str, value: object) -> object:
    try:
        return _state()[key].validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"[{part!r}]" for part in first["loc"])
        raise InputError(f"node {name!r} returned {key}{place} that the State cannot hold: {first['msg']}") from error


@cache
def _state() -> dict[str, TypeAdapter[Any]]:
    """By key, what checks a value of the State."""
    return {key: TypeAdapter(hint) for key, hint in get_type_hints(State).items()}


def _said(error: Exception) -> str:
    """An exception in one line, with the place that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {message} ({frame.filename}:{frame.lineno})"


async def _await(result: Any) -> Any:  # noqa: ANN401
    return await result
