"""From a set of nodes to a compiled LangGraph StateGraph.

    START → generate → test ─┬→ learn → END
               ↑             └→ reflect ─┐
               └─────────────────────────┘

A node that says `after = "test"` is put on the way out of `test`, before the routing decides; `before = "test"` on the way
into it; `instead_of = "test"` in its place. Several nodes at the same place run in name order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from crucible.errors import InputError
from crucible.nodes.base import Context
from crucible.nodes.registry import BUILT_IN, NodeSpec
from crucible.orchestrator.routing import after_test
from crucible.orchestrator.step import step
from crucible.types import State

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph

    Compiled = CompiledStateGraph[State, None, State, State]


def chain(specs: Mapping[str, NodeSpec], start: str) -> list[str]:
    """Return what runs in the place of `start`: the node or its replacement, with what runs before and after it."""
    replacement = next((spec.name for spec in specs.values() if spec.instead_of == start), start)
    names = {start, replacement}
    before = sorted(spec.name for spec in specs.values() if spec.before in names)
    after = sorted(spec.name for spec in specs.values() if spec.after in names)
    return [
        *(name for each in before for name in chain(specs, each)),
        replacement,
        *(name for each in after for name in chain(specs, each)),
    ]


def build(
    specs: Mapping[str, NodeSpec],
    context: Context,
    checkpointer: BaseCheckpointSaver[str] | None = None,
) -> Compiled:
    """Wire the nodes. The graph is bound to `context`: one graph per run.

    Raises InputError where nodes are placed in a circle, or one cannot be made."""
    return _wire(
        {name: step(spec, context) for name, spec in specs.items()},
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
    chains = {name: chain(specs, name) for name in BUILT_IN}
    placed = [name for names in chains.values() for name in names]
    replaced = {spec.instead_of for spec in specs.values()}
    if lost := sorted(set(specs) - set(placed) - replaced):
        raise InputError(
            f"nodes {lost} are placed by each other in a circle; place one of them by one of: {', '.join(BUILT_IN)}"
        )
    for name in placed:
        graph.add_node(name, steps[name])  # type: ignore[call-overload]
    for names in chains.values():
        for one, other in pairwise(names):
            graph.add_edge(one, other)
    into = {name: names[0] for name, names in chains.items()}
    out_of = {name: names[-1] for name, names in chains.items()}
    graph.add_edge(START, into["generate"])
    graph.add_edge(out_of["generate"], into["test"])
    graph.add_conditional_edges(out_of["test"], route, {name: into[name] for name in ("reflect", "learn")})
    graph.add_edge(out_of["reflect"], into["generate"])
    graph.add_edge(out_of["learn"], END)
    return graph
