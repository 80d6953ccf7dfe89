"""Node classes that a program hands in, checked before anything runs.

Crucible(nodes=[Complexity])                  each class has a name and says where it runs
Crucible(nodes={"complexity": Complexity})    the key is the name; a key without a place replaces that node
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from crucible.errors import InputError
from crucible.nodes.base import BaseNode
from crucible.types import State

Nodes = Iterable[type[BaseNode]] | Mapping[str, type[BaseNode]]
"""Node classes as `Crucible(nodes=…)` takes them."""

PLACES = ("after", "before", "instead_of")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class Given(NamedTuple):
    """A node class under the name it has in the graph."""

    name: str
    node: type[BaseNode]

    @classmethod
    def of(cls, node: type[BaseNode], name: object) -> Given:
        """Check the class. Raise InputError where the graph could not hold it."""
        who = node.__name__
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(f"{who}.name must be a word of letters, digits, - and _, for instance {who.lower()!r}")
        if name in State.__annotations__:
            raise InputError(f"{who}.name must not be {name!r}, which is a key of the State; take another name")
        if inspect.isabstract(node):
            raise InputError(f"{who} has no run(self, state, context), which every node needs")
        given = cls(name, node)
        if len(given.places) > 1:
            raise InputError(f"{who} sets {' and '.join(given.places)}; a node has one place: keep one of them")
        for key, target in given.places.items():
            if not isinstance(target, str):
                raise InputError(f"{who}.{key} must be the name of a node, for instance {key} = 'test'")
        return given

    @property
    def places(self) -> dict[str, str]:
        """The attributes that place the node: `after`, `before`, `instead_of`, those that are set."""
        return {key: value for key in PLACES if (value := getattr(self.node, key)) is not None}


def read_nodes(nodes: Nodes | None) -> tuple[Given, ...]:
    """The classes handed in, by name. Raise InputError for what is no node class, and for a name given twice."""
    if nodes is None:
        return ()
    if isinstance(nodes, type):
        raise InputError(f"nodes takes a list of classes: nodes=[{nodes.__name__}]")
    if isinstance(nodes, str | bytes) or not isinstance(nodes, Iterable):
        raise InputError("nodes takes a list of BaseNode classes, or a mapping of names to classes")
    named = nodes.items() if isinstance(nodes, Mapping) else [(None, each) for each in nodes]
    given = [_read(name, node) for name, node in named]
    names = [each.name for each in given]
    for each in given:
        if names.count(each.name) > 1:
            raise InputError(f"two of the nodes handed in are named {each.name!r}; give one of them another name")
    return tuple(given)


def _read(name: object, node: Any) -> Given:  # noqa: ANN401 - whatever the caller handed in
    if isinstance(node, BaseNode):
        who = type(node).__name__
        raise InputError(f"nodes takes classes, not objects: hand in {who}, not {who}(…)")
    if not (isinstance(node, type) and issubclass(node, BaseNode)):
        raise InputError(f"nodes takes subclasses of crucible.nodes.BaseNode, not {node!r:.80}")
    return Given.of(node, getattr(node, "name", None) if name is None else name)
