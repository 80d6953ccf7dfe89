"""Which slot a request takes: no gap that need not be, and what was read is read again by the same."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from crucible.models.slots import Slots


def test_a_gap_is_filled_before_anything_else() -> None:
    slots = Slots(6)
    with ExitStack() as first:
        assert [first.enter_context(slots.taken("a")) for _ in range(3)] == [0, 1, 2]
        with slots.taken("b") as fourth:
            assert fourth == 3
    with slots.taken("x") as low, ExitStack() as others:
        taken = [others.enter_context(slots.taken("y")) for _ in range(3)]
        assert low not in taken and sorted([low or 0, *taken]) == list(
            range(min(low or 0, *taken), max(low or 0, *taken) + 1)
        )


def test_of_equal_places_the_one_that_read_it_is_taken() -> None:
    slots = Slots(4)
    slots.hold([2], "def add(a, b):")
    with slots.taken("def add(a, b):\n    return") as slot:
        assert slot == 2
        slots.hold([3], "import os")
        with slots.taken("import os.path") as beside:
            assert beside == 3


def test_where_all_are_busy_none_is_named_and_one_that_ended_is_free() -> None:
    slots = Slots(1)
    with slots.taken("a") as one:
        with slots.taken("b") as none:
            assert one == 0 and none is None
        with slots.taken("c") as still:
            assert still is None
    with slots.taken("d") as again:
        assert again == 0


@given(st.lists(st.integers(0, 20), max_size=60))
def test_no_two_hold_the_same_slot_and_a_run_is_only_begun_where_there_is_none(ends: list[int]) -> None:
    """ends: before every request, which of the running ones ends (none for a number beyond them)."""
    slots, running = Slots(8), list[tuple[ExitStack, int]]()
    for end in ends:
        if end < len(running):
            running.pop(end)[0].close()
        stack = ExitStack()
        slot = stack.enter_context(slots.taken("p"))
        busy = {other for _, other in running}
        if slot is None:
            assert len(busy) == 8
            continue
        assert slot not in busy
        assert not busy or {slot - 1, slot + 1} & busy
        running.append((stack, slot))
    for stack, _ in running:
        stack.close()
