import threading
import time
from collections.abc import Iterator

import pytest

from credit_risk_model.tables.threads import map_in_order


def test_results_come_in_the_order_of_the_items() -> None:
    """A call that takes longer than the next one still comes before it."""

    def wait(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * 2

    assert list(map_in_order(wait, range(20), 3)) == list(range(0, 40, 2))


def test_no_items_give_no_results() -> None:
    """Nothing is called without items."""
    assert list(map_in_order(str, [], 2)) == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_as_many_calls_run_at_once_as_were_asked_for(threads: int) -> None:
    """All threads work at the same time, and no more than them."""
    meeting, counting = threading.Barrier(threads, timeout=20), threading.Lock()
    running = most = 0

    def work(_: int) -> None:
        nonlocal running, most
        with counting:
            running += 1
            most = max(most, running)
        meeting.wait()
        time.sleep(0.01)
        with counting:
            running -= 1

    list(map_in_order(work, range(threads * 4), threads))
    assert most == threads


@pytest.mark.parametrize("threads", [1, 4])
def test_items_are_taken_only_as_far_ahead_as_keeps_the_threads_busy(threads: int) -> None:
    """When a result is handed over, there is an item for each thread and one more, and none beyond."""
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 100:
            taken += 1
            yield taken

    for result in map_in_order(int, items(), threads):
        assert taken == min(result + threads + 1, 100)


def test_error_of_a_call_is_raised_in_its_place() -> None:
    """The results before a failed call are handed over, then its error is raised."""

    def halve(item: int) -> float:
        return 6 / item

    found = map_in_order(halve, [3, 2, 0, 1], 2)
    assert [next(found), next(found)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_no_call_begins_after_the_caller_has_stopped() -> None:
    """A caller that stops early waits for the running call, and those that wait are never made."""
    called: list[int] = []
    begun = threading.Event()

    def work(item: int) -> int:
        called.append(item)
        if item == 1:
            begun.set()
            time.sleep(0.2)
        return item

    results = map_in_order(work, range(10), 1)
    assert next(results) == 0
    assert begun.wait(20)
    results.close()
    assert called == [0, 1]
