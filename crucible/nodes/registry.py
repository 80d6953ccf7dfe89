"""Finding nodes: every installed entry point of the group `crucible.nodes`, the built-in four included, and the classes
that a program hands in (`Crucible(nodes=[Mine])`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from crucible.errors import InputError
from crucible.nodes.base import BaseNode
from crucible.nodes.given import PLACES, Given

GROUP = "crucible.nodes"
BUILT_IN = ("generate", "test", "reflect", "learn")


class NodeSpec(NamedTuple):
    """A node, where it runs and where it came from. A built-in node has no place: the others are placed around the four."""

    name: str
    node: type[BaseNode]
    after: str | None
    package: str
    version: str
    before: str | None = None
    instead_of: str | None = None

    @property
    def place(self) -> tuple[str, str] | None:
        """The attribute that places the node and the node it names; None for a built-in one."""
        return next(((key, value) for key in PLACES if (value := getattr(self, key)) is not None), None)


def load_nodes(disabled: tuple[str, ...] = (), given: Iterable[Given] = ()) -> dict[str, NodeSpec]:
    """All nodes by name: the built-in four, plugins in name order, then the classes handed in.

    disabled: plugins to leave out. given: classes handed in; one that says no place replaces the node of its name.
    Raises InputError for a plugin that cannot be imported or is no BaseNode, for two nodes of one name, and for a place that
    does not exist; the message says what to fix and lists the nodes there are.
    """
    points = sorted(entry_points(group=GROUP), key=lambda point: (_rank(point.name), point.name))
    specs: dict[str, NodeSpec] = {}
    for point in points:
        if point.name in disabled and point.name not in BUILT_IN:
            continue
        spec = _load(point)
        if spec.name in specs:
            raise InputError(
                f"two packages register a node named {spec.name!r}: {specs[spec.name].package} and {spec.package}; "
                "uninstall one, or list it under tools.disabled_nodes"
            )
        specs[spec.name] = spec
    missing = [name for name in BUILT_IN if name not in specs]
    if missing:
        raise InputError(f"built-in nodes {missing} are not registered: reinstall with `pip install -e .`")
    for each in given:
        specs[each.name] = _given(each, specs)
    _check_places(specs)
    return specs


def _rank(name: str) -> int:
    return BUILT_IN.index(name) if name in BUILT_IN else len(BUILT_IN)


def _load(point: EntryPoint) -> NodeSpec:
    package = point.dist.name if point.dist else "?"
    version = point.dist.version if point.dist else "?"
    hint = f"fix it, uninstall it, or add {point.name!r} to tools.disabled_nodes"
    try:
        node = point.load()
    except Exception as error:  # a plugin's import may raise anything at all
        raise InputError(
            f"node {point.name!r} of {package} cannot be imported ({type(error).__name__}: {error}); {hint}"
        ) from error
    if not (isinstance(node, type) and issubclass(node, BaseNode)):
        raise InputError(f"{point.value} of {package} is not a crucible.nodes.BaseNode class; {hint}")
    if getattr(node, "name", None) != point.name:
        raise InputError(f"{point.value} of {package} must set name = {point.name!r}, as its entry point says; {hint}")
    try:
        places = Given.of(node, point.name).places
    except InputError as error:
        raise InputError(f"{point.value} of {package}: {error}; {hint}") from error
    if point.name in BUILT_IN and places:
        raise InputError(f"{point.value} of {package} takes the name of a built-in node; {hint}")
    if point.name not in BUILT_IN and not places:
        raise InputError(f"node {point.name!r} of {package} must say which node it follows (`after = …`); {hint}")
    return NodeSpec(point.name, node, places.get("after"), package, version, *map(places.get, PLACES[1:]))


def _given(given: Given, specs: Mapping[str, NodeSpec]) -> NodeSpec:
    """The spec of a class that was handed in. A class without a place takes that of the node whose name it has."""
    places, known = given.places, specs.get(given.name)
    if known is None and not places:
        raise InputError(
            f"there is no node {given.name!r} to take the place of; set after, before or instead_of on "
            f"{given.node.__name__} to one of: {', '.join(specs)}"
        )
    if given.name in BUILT_IN and places and places != {"instead_of": given.name}:
        raise InputError(
            f"node {given.name!r} is a built-in one; give {given.node.__name__} another name, or leave out its place "
            f"to replace {given.name!r}"
        )
    if known is not None and (not places or given.name in BUILT_IN):
        return known._replace(node=given.node, package=given.node.__module__, version="")
    return NodeSpec(
        given.name, given.node, places.get("after"), given.node.__module__, "", *map(places.get, PLACES[1:])
    )


def _check_places(specs: Mapping[str, NodeSpec]) -> None:
    """Raise InputError for a node placed by one that is not there or by itself, and for two in the same node's stead."""
    replaced: dict[str, str] = {}
    for spec in specs.values():
        if spec.place is None:
            continue
        key, target = spec.place
        who = f"node {spec.name!r} of {spec.package}"
        wants = {"after": "wants to follow", "before": "wants to precede", "instead_of": "wants to replace"}[key]
        if target not in specs:
            raise InputError(f"{who} {wants} {target!r}, which is not there; nodes: {', '.join(specs)}")
        if target == spec.name:
            raise InputError(f"{who} {wants} itself; set {key} to another of: {', '.join(specs)}")
        if key != "instead_of":
            continue
        if specs[target].instead_of is not None:
            raise InputError(
                f"{who} {wants} {target!r}, which replaces {specs[target].instead_of!r} itself; nodes: {', '.join(specs)}"
            )
        if target in replaced:
            raise InputError(
                f"nodes {replaced[target]!r} and {spec.name!r} both want to replace {target!r}; hand in one"
            )
        replaced[target] = spec.name
