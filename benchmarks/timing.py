"""Measures processor time of calls that never wait, so that other load on the machine counts little."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]


Timed = Callable[[Any], object]


def measure_microseconds(timed: Mapping[str, tuple[Timed, Sequence[Any]]], rounds: int) -> dict[str, list[float]]:
    """Time each call on each of its items, taking turns.

    Returns:
        By name, each round's microseconds of processor time per call, after a warm-up round.
    """
    found: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds + 1):
        for name, (call, items) in timed.items():
            start = time.thread_time_ns()
            for item in items:
                call(item)
            if number:
                found[name].append((time.thread_time_ns() - start) / len(items) / 1000)
    return found


def summarize(times: Sequence[float]) -> Row:
    """Return median and range."""
    return {"microseconds": statistics.median(times), "from-to": f"{min(times):.3g}-{max(times):.3g}"}
