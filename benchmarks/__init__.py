"""Measurements. Each prints what it measured, on which machine, and a ratio against a baseline of the same run."""
