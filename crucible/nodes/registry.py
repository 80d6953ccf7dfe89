"""Finding nodes: every installed entry point of the group `crucible.nodes`, the built-in four included."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from crucible.errors import InputError
from crucible.nodes.base import BaseNode

GROUP = "crucible.nodes"
BUILT_IN = ("generate", "test", "reflect", "learn")


class NodeSpec(NamedTuple):
    """A node and where it came from."""

    name: str
    node: type[BaseNode]
    after: str | None
    package: str
    version: str


def load_nodes(disabled: tuple[str, ...] = ()) -> dict[str, NodeSpec]:
    """All registered nodes by name, the built-in four first, plugins in name order.

    Raises InputError for a plugin that cannot be imported, is no BaseNode, takes a built-in name, or follows
    a node that does not exist; the message names the package to fix or to disable.
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
    for spec in specs.values():
        if spec.after is not None and spec.after not in specs:
            raise InputError(
                f"node {spec.name!r} of {spec.package} wants to follow {spec.after!r}, which is not there; "
                f"nodes: {', '.join(specs)}"
            )
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
    if point.name not in BUILT_IN and node.after is None:
        raise InputError(f"node {point.name!r} of {package} must say which node it follows (`after = …`); {hint}")
    return NodeSpec(point.name, node, node.after, package, version)
