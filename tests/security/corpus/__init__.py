"""Hostile and honest programs, each with what must come of it, and the host that they are run on.

`programs/*.yaml` are Crucible's own; `../shared/security` (or CRUCIBLE_SHARED) has more, in the same grammar, as JSON.
entries: the grammar. host: what stands around a sandbox for programs to reach. checks: one for each expectation.
runner: a process that runs many programs on one sandbox. batch: starts it, as root or as an ordinary user.
"""
