"""Which slot a request takes: no gap that need not be, and what was read is read again by the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.models.llama.slots import Lane, Slots
from crucible.models.transport.stop import Stop


@pytest.fixture
def stop() -> Iterator[Stop]:
    with Stop(None, None, 60.0) as stop:
        yield stop


def hold(slots: Slots, prompts: dict[int, str]) -> None:
    """Each of these slots reads its prompt, and no other reads one."""
    with Stop(None, None, 60.0) as stop:
        held = slots.lane(4, "", stop)
    with ExitStack() as reading:
        for slot, prompt in prompts.items():
            slots.free([slot])
            assert reading.enter_context(slots.taken(prompt)) == slot
    slots.free(set(held) - set(prompts))


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
    hold(slots, {2: "def add(a, b):", 3: "import os"})
    with slots.taken("def add(a, b):\n    return") as slot:
        assert slot == 2
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


def test_a_lane_lies_side_by_side_and_the_next_takes_what_is_left(stop: Stop) -> None:
    slots = Slots(8)
    first = slots.lane(5, "p", stop)
    second = slots.lane(6, "q", stop)
    assert sorted(first) == [0, 1, 2, 3, 4] and sorted(second) == [5, 6, 7]


def test_a_lane_waits_until_half_of_its_slots_are_free(stop: Stop) -> None:
    slots = Slots(4)
    held = slots.lane(4, "p", stop)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(slots.lane, 4, "q", stop)
        slots.free(held[:1])
        time.sleep(0.3)
        assert not waiting.done()
        slots.free(held[1:2])
        assert sorted(waiting.result(timeout=5)) == sorted(held[:2])


def test_lanes_come_in_turn(stop: Stop) -> None:
    slots, came = Slots(2), list[str]()

    def waits(prompt: str) -> None:
        held = slots.lane(2, prompt, stop)
        came.append(prompt)
        slots.free(held)

    held = slots.lane(2, "", stop)
    with ThreadPoolExecutor(8) as threads:
        for prompt in "abcdefgh":
            waiting = threads.submit(waits, prompt)
            while len(slots._lanes) <= "abcdefgh".index(prompt):
                assert not waiting.done()
        slots.free(held)
    assert came == list("abcdefgh")


def test_a_lane_that_is_told_to_stop_waits_no_longer() -> None:
    slots, cancel = Slots(2), threading.Event()
    with Stop(cancel, None, 60.0) as stop, ThreadPoolExecutor(1) as threads:
        assert len(slots.lane(2, "p", stop)) == 2
        waiting = threads.submit(slots.lane, 2, "q", stop)
        cancel.set()
        assert waiting.result(timeout=5) == []


@pytest.mark.parametrize(("slots", "samples"), [(1, 3), (3, 1)])
def test_one_is_no_lane(stop: Stop, slots: int, samples: int) -> None:
    table = Slots(slots)
    assert table.lane(samples, "p", stop) == []
    with table.taken("p") as slot:
        assert slot == 0


@given(st.integers(2, 6), st.integers(2, 12), st.integers(0, 12))
def test_a_lane_draws_all_its_samples_and_leaves_every_slot_free(width: int, samples: int, failing: int) -> None:
    """failing: after so many samples no more are drawn."""
    slots = Slots(6)
    with Stop(None, None, 60.0) as stop:
        lane = Lane(slots, held := slots.lane(min(width, samples), "p", stop), samples)
        running, drawn = list[tuple[ExitStack, int]](), min(samples, failing)
        for number in range(drawn):
            if len(running) == lane.width:
                running.pop(number % lane.width)[0].close()
            stack = ExitStack()
            slot = stack.enter_context(lane.taken())
            assert slot in held and slot not in {other for _, other in running}
            running.append((stack, slot))
        for stack, _ in running:
            stack.close()
        lane.close()
        assert sorted(slots.lane(6, "q", stop)) == list(range(6))


def test_a_slot_that_no_sample_waits_for_is_free_at_once(stop: Stop) -> None:
    slots = Slots(3)
    lane = Lane(slots, slots.lane(3, "p", stop), 4)
    with ExitStack() as rest:
        with lane.taken() as first:
            rest.enter_context(lane.taken())
            rest.enter_context(lane.taken())
        with slots.taken("q") as none:  # the fourth sample is to have it
            assert none is None
        with lane.taken() as fourth:
            assert fourth == first
        with slots.taken("q") as now:
            assert now == first
