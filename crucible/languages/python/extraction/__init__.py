"""The steps from a model's answer to a program; `crucible.languages.python.extract` puts them together."""
