"""Node classes of a script: handed to Crucible, they run where they say; what cannot run is refused in one line."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from crucible.app import Crucible
from crucible.errors import InputError
from crucible.models.scripted import ScriptedModel
from crucible.nodes import BaseNode
from crucible.nodes.reflect import Reflect
from crucible.orchestrator.graph import draw
from crucible.security.base import Sandbox
from tests.conftest import DOUBLE, RIGHT, WRONG, settings_at


def node(run=lambda self, state, context: {}, **attributes: object) -> type[BaseNode]:
    """A node class as a script would write it."""
    return type("Mine", (BaseNode,), {"run": run, "name": "mine", "__module__": __name__, **attributes})


def app(home: Path, nodes: object, *replies: str, sandbox: Sandbox | None = None, **sections: dict[str, object]):
    """Without a memory, which nothing here needs."""
    sections = {"tools": {"memory": False, "dataset_logging": False}, **sections}
    model = ScriptedModel(list(replies or (RIGHT,)))
    return Crucible(settings=settings_at(home, **sections), model=model, sandbox=sandbox, nodes=nodes)


def wiring(made: Crucible) -> str:
    """The edges as Mermaid has them, without the labels of those that the routing takes."""
    return re.sub(r"-\.\s.*?\.->", "-.->", draw(made.nodes, "mermaid"))


@pytest.mark.parametrize(
    ("place", "edges"),
    [
        ({"after": "test"}, ["test --> mine", "mine -.-> learn", "mine -.-> reflect"]),
        ({"before": "test"}, ["generate --> mine", "mine --> test"]),
        ({"before": "generate"}, ["__start__ --> mine", "reflect --> mine", "mine --> generate"]),
        ({"instead_of": "reflect"}, ["test -.-> mine", "mine --> generate"]),
        ({"instead_of": "test"}, ["generate --> mine", "mine -.-> learn"]),
        ({"after": "learn"}, ["learn --> mine", "mine --> __end__"]),
    ],
)
@pytest.mark.parametrize("form", [list, lambda nodes: {each.name: each for each in nodes}])
def test_a_class_runs_where_it_says(own_home: Path, place: dict[str, str], edges: list[str], form) -> None:
    drawn = wiring(app(own_home, form([node(**place)])))
    assert [edge for edge in edges if f"\t{edge};" not in drawn] == []
    if "instead_of" in place:
        assert f"{place['instead_of']} -" not in drawn


def test_nodes_stack_around_one_another_and_around_a_replacement(own_home: Path) -> None:
    given = [
        node(name="first", before="mine"),
        node(name="last", after="test"),
        node(instead_of="test"),
        node(name="later", after="last"),
    ]
    drawn = wiring(app(own_home, given))
    for edge in ("generate --> first", "first --> mine", "mine --> last", "last --> later"):
        assert f"\t{edge};" in drawn


def test_a_mapping_replaces_a_built_in_node_and_names_others(own_home: Path) -> None:
    class Quiet(Reflect):
        pass

    made = app(own_home, {"reflect": Quiet, "mine": node(name="other", after="test")})
    assert made.nodes["reflect"].node is Quiet
    assert made.nodes["mine"].after == "test" and "other" not in made.nodes


def test_a_list_replaces_a_built_in_node_by_its_name(own_home: Path) -> None:
    class Quiet(Reflect):
        pass

    assert app(own_home, [Quiet]).nodes["reflect"].node is Quiet


class Pathless:
    """No node."""


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ({"mine": node()}, "there is no node 'mine' to take the place of; set after, before or instead_of on Mine"),
        ([node()], "there is no node 'mine' to take the place of"),
        ([node(after="lunch")], "wants to follow 'lunch', which is not there; nodes: generate, test, reflect, learn"),
        ([node(before="lunch")], "wants to precede 'lunch', which is not there"),
        ([node(instead_of="lunch")], "wants to replace 'lunch', which is not there"),
        ([node(after="mine")], "wants to follow itself"),
        ([node(after="test"), node(after="test")], "two of the nodes handed in are named 'mine'"),
        ([node(name="a", instead_of="test"), node(name="b", instead_of="test")], "both want to replace 'test'"),
        ([node(name="a", instead_of="b"), node(name="b", instead_of="test")], "which replaces 'test' itself"),
        ([node(name="test", after="generate")], "node 'test' is a built-in one"),
        ([node(after="test", before="learn")], "Mine sets after and before; a node has one place"),
        ([node(after=Pathless)], "Mine.after must be the name of a node"),
        ([node(after="test")()], "nodes takes classes, not objects: hand in Mine, not Mine(…)"),
        ([Pathless], "nodes takes subclasses of crucible.nodes.BaseNode"),
        (["complexity"], "nodes takes subclasses of crucible.nodes.BaseNode, not 'complexity'"),
        (node(after="test"), "nodes takes a list of classes: nodes=[Mine]"),
        ("complexity", "nodes takes a list of BaseNode classes"),
        (3, "nodes takes a list of BaseNode classes"),
        ([node(name="two words", after="test")], "Mine.name must be a word"),
        ([node(name=None, after="test")], "Mine.name must be a word"),
        ({3: node(after="test")}, "Mine.name must be a word"),
        ([node(name="feedback", after="test")], "must not be 'feedback', which is a key of the State"),
        ([type("Idle", (BaseNode,), {"name": "idle", "after": "test"})], "Idle has no run(self, state, context)"),
        ([type("Nameless", (BaseNode,), {"run": print, "after": "test"})], "Nameless.name must be a word"),
    ],
)
def test_what_cannot_be_placed_is_refused_when_it_is_handed_in(own_home: Path, nodes: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        app(own_home, nodes)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_from_settings_takes_nodes(own_home: Path) -> None:
    made = Crucible.from_settings(approve="auto", nodes=[node(after="test")], model={"engine": "scripted"})
    assert "mine" in made.nodes
    with pytest.raises(InputError, match="'lunch', which is not there"):
        Crucible.from_settings(nodes=[node(after="lunch")])


def test_a_circle_is_refused(own_home: Path) -> None:
    made = app(own_home, [node(name="a", after="b"), node(name="b", after="a")])
    with pytest.raises(InputError, match=r"nodes \['a', 'b'\] are placed by each other in a circle"):
        wiring(made)


def test_a_variant_keeps_the_nodes_handed_in(own_home: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    class Quiet(Reflect):
        pass

    with (
        app(own_home, [node(after="test"), node(name="own", after="mine")], sandbox=sandbox) as made,
        made.variant(home=tmp_path / "other", nodes={"reflect": Quiet}) as variant,
    ):
        assert {"mine", "own"} <= set(variant.nodes) and variant.nodes["reflect"].node is Quiet


@pytest.mark.sandbox
def test_what_it_returns_reaches_the_episode_and_the_model(own_home: Path, sandbox: Sandbox) -> None:
    def run(self, state, context):
        return {"feedback": [{"kind": "style", "severity": "info", "message": f"cycle {state['cycle']}"}]}

    with app(own_home, [node(run, after="test")], sandbox=sandbox) as made:
        episode = made.solve(DOUBLE)
    assert episode.status == "solved" and [each.message for each in episode.feedback] == ["cycle 1"]


@pytest.mark.sandbox
def test_a_node_may_be_a_coroutine_and_return_nothing(own_home: Path, sandbox: Sandbox) -> None:
    seen: list[str] = []

    async def run(self, state, context):
        await asyncio.sleep(0)
        seen.append(context.model.identity.engine)

    with app(own_home, [node(run, before="learn")], sandbox=sandbox) as made:
        assert made.solve(DOUBLE).status == "solved"
    assert seen == ["scripted"]


@pytest.mark.sandbox
def test_more_nodes_than_a_cycle_usually_has_steps_for(own_home: Path, sandbox: Sandbox) -> None:
    crowd = [node(name=f"n{number}", after="test") for number in range(40)]
    with app(own_home, crowd, WRONG, sandbox=sandbox, cycles={"max_cycles": 2, "strategy": "resample"}) as made:
        assert made.solve(DOUBLE).cycles == 2


def raises(self, state, context):
    raise ValueError("boom\nand more")


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (raises, "node 'mine' of tests.nodes.test_given failed: ValueError: boom and more ("),
        (lambda self, state, context: 3, "node 'mine' returned int; it must return a dict"),
        (lambda self, state, context: [("cycle", 1)], "node 'mine' returned list; it must return a dict"),
        (lambda self, state, context: {"mood": 1}, "returned keys ['mood'] that the State does not have; there are:"),
        (lambda self, state, context: {1: 1, "x": 2}, "returned keys ['1', 'x']"),
        (lambda self, state, context: {"feedback": "slow"}, "returned feedback that the State cannot hold"),
        (lambda self, state, context: {"feedback": [{"kind": "odd"}]}, "returned feedback[0]['kind'] that the State"),
        (lambda self, state, context: {"feedback": None}, "returned feedback that the State cannot hold"),
        (lambda self, state, context: {"attempts": [1]}, "returned attempts[0] that the State cannot hold"),
        (lambda self, state, context: {"cycle": "many"}, "returned cycle that the State cannot hold"),
        (lambda self: {}, "node 'mine' of tests.nodes.test_given failed: TypeError"),
    ],
)
@pytest.mark.sandbox
def test_nonsense_ends_the_run_in_one_line(own_home: Path, sandbox: Sandbox, run, said: str) -> None:
    with app(own_home, [node(run, before="test")], sandbox=sandbox) as made:
        with pytest.raises(InputError) as caught:
            made.solve(DOUBLE)
        assert said in str(caught.value) and "\n" not in str(caught.value)
        assert made.runs.list()[0].state == "failed"


@pytest.mark.sandbox
def test_a_node_that_cannot_be_made_is_named(own_home: Path, sandbox: Sandbox) -> None:
    def made(self, limit):
        pass

    with (
        app(own_home, [node(after="test", __init__=made)], sandbox=sandbox) as crucible,
        pytest.raises(InputError, match="node 'mine' cannot be made without arguments: TypeError"),
    ):
        crucible.solve(DOUBLE)


@pytest.mark.sandbox
def test_a_failed_node_leaves_a_run_that_can_be_resumed(own_home: Path, sandbox: Sandbox) -> None:
    with app(own_home, [node(raises, before="test")], sandbox=sandbox) as made:
        with pytest.raises(InputError):
            made.solve(DOUBLE)
        run_id = made.runs.list()[0].run_id
    with app(own_home, [node(before="test")], sandbox=sandbox) as made:
        assert made.resume(run_id).status == "solved"
