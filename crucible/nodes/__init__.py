"""Nodes: the steps of the graph. A node of your own imports `BaseNode` and `Context` from here."""

from crucible.nodes.base import BaseNode, Context, Update

__all__ = ["BaseNode", "Context", "Update"]
