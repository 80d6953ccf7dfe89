"""From a set of nodes to a compiled LangGraph StateGraph.

    START → generate → test ─┬→ learn → END
               ↑             └→ reflect ─┐
               └─────────────────────────┘

A plugin that says `after = "test"` is put on the way out of `test`, before the routing decides; several plugins
after the same node run in name order.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from crucible.errors import InputError
from crucible.nodes.base import BaseNode, Context
from crucible.nodes.registry import NodeSpec
from crucible.orchestrator.routing import after_test
from crucible.types import Feedback, State

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph

    Compiled = CompiledStateGraph[State, None, State, State]


def chain(specs: Mapping[str, NodeSpec], start: str) -> list[str]:
    """`start` and the plugins that follow it, directly or through one another, in the order they run."""
    order = [start]
    for name in order:  # grows while it is walked
        order[order.index(name) + 1 : order.index(name) + 1] = sorted(
            spec.name for spec in specs.values() if spec.after == name
        )
    return order


def build(
    specs: Mapping[str, NodeSpec],
    context: Context,
    checkpointer: BaseCheckpointSaver[str] | None = None,
) -> Compiled:
    """Wire the nodes. The graph is bound to `context`: one graph per run.

    Raises InputError where plugins follow each other in a circle."""
    return _wire(
        {name: _step(spec.node(), context) for name, spec in specs.items()},
        specs,
        lambda state: after_test(state, context.cycles, context.spent_s()),
    ).compile(checkpointer=checkpointer, name="crucible")


def draw(specs: Mapping[str, NodeSpec], form: Literal["ascii", "mermaid"]) -> str:
    """The same wiring as a picture; nothing is loaded or run."""
    picture = _wire(dict.fromkeys(specs, _unchanged), specs, lambda _: "learn").compile().get_graph()
    return picture.draw_mermaid() if form == "mermaid" else picture.draw_ascii()


def _unchanged(_: State) -> dict[str, Any]:
    return {}


def _wire(
    steps: Mapping[str, Callable[[State], dict[str, Any]]],
    specs: Mapping[str, NodeSpec],
    route: Callable[[State], str],
) -> StateGraph[State, None, State, State]:
    from langgraph.graph import END, START, StateGraph

    graph: StateGraph[State, None, State, State] = StateGraph(State)
    chains = {name: chain(specs, name) for name in ("generate", "test", "reflect", "learn")}
    placed = [name for names in chains.values() for name in names]
    if lost := sorted(set(specs) - set(placed)):
        raise InputError(f"nodes {lost} follow each other in a circle; set `after` to a node of the loop")
    for name in placed:
        graph.add_node(name, steps[name])  # type: ignore[call-overload]
    for names in chains.values():
        for one, other in pairwise(names):
            graph.add_edge(one, other)
    graph.add_edge(START, "generate")
    graph.add_edge(chains["generate"][-1], "test")
    graph.add_conditional_edges(chains["test"][-1], route, {"reflect": "reflect", "learn": "learn"})
    graph.add_edge(chains["reflect"][-1], "generate")
    graph.add_edge(chains["learn"][-1], END)
    return graph


def _step(node: BaseNode, context: Context) -> Callable[[State], dict[str, Any]]:
    """A node as LangGraph wants it. A coroutine is run to its end; a plugin's plain dicts become Feedback."""

    def step(state: State) -> dict[str, Any]:
        context.check_cancelled()
        result = node.run(state, context)
        if inspect.isawaitable(result):
            result = asyncio.run(_await(result))
        context.check_cancelled()  # what an interrupted node came to does not count: it is done again on resume
        update = dict(result)
        unknown = sorted(set(update) - set(State.__annotations__))
        if unknown:
            raise InputError(f"node {node.name!r} returned keys {unknown} that the State does not have")
        if "feedback" in update:
            update["feedback"] = [Feedback.model_validate(item) for item in update["feedback"]]
        update["spent_s"] = context.spent_s()
        return update

    return step


async def _await(result: Any) -> Any:  # noqa: ANN401
    return await result
