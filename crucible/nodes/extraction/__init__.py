"""The steps from a model's answer to a program; `crucible.nodes.extract` puts them together."""
