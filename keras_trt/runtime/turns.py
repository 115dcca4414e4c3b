"""Times several calls beside each other: they take turns, so that other work on the machine hits all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Barrier

Call = Callable[[], object]
Clock = Callable[[], float]

_WARM_UP = 3  # calls at least: the first ones compile, and allocate
_WARM_UP_SHARE = 0.2  # of the time to measure
_BURST = 0.05  # seconds of one turn, about
_LONGEST_BURST = 64
_ROUNDS = 5  # at least, however long they take
_PAUSE = 0.02  # between turns of several: runtimes let their threads spin for a while after a call


@dataclass
class Turns:
    """What was measured of one call.

    Attributes:
        bursts: The seconds of each call, one list a turn.
        walls: The seconds from the beginning to the end of each turn.
    """

    bursts: list[list[float]] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """Of every call."""
        return [one for burst in self.bursts for one in burst]

    @property
    def per_second(self) -> float:
        """How many calls ended in a second of its turns."""
        return len(self.seconds) / sum(self.walls)


def take_turns(
    calls: Mapping[str, Call],
    *,
    threads: int = 1,
    seconds: float = 1.0,
    clock: Clock = time.perf_counter,
) -> dict[str, Turns]:
    """Times each call for about some seconds; who goes first changes from round to round.

    Args:
        calls: By name; each is warmed up first.
        threads: From how many threads each is called at once.
        seconds: For each of them. Every one has at least 5 turns.
        clock: Tells the seconds.

    Returns:
        The times, by name.
    """
    sizes = {name: _burst_size(_warm(call, seconds, clock)) for name, call in calls.items()}
    taken = {name: Turns() for name in calls}
    order = list(calls)
    with _callers(threads, clock) as burst:
        end = clock() + seconds * len(calls)
        done = 0
        while done < _ROUNDS or clock() < end:
            for name in order:
                if len(calls) > 1:
                    time.sleep(_PAUSE)
                    calls[name]()  # finds the caches as the call before it has left them
                latencies, wall = burst(calls[name], sizes[name])
                taken[name].bursts.append(latencies)
                taken[name].walls.append(wall)
            order.append(order.pop(0))
            done += 1
    return taken


def times_faster(ours: Turns, theirs: Turns) -> float:
    """How many times less one call takes than the other: the median over the rounds."""
    ratios = [
        statistics.median(b) / statistics.median(a) for a, b in zip(ours.bursts, theirs.bursts, strict=True)
    ]
    return statistics.median(ratios)


def _warm(call: Call, seconds: float, clock: Clock) -> float:
    """Calls until nothing new happens, or for a while; the seconds of the fastest call."""
    end, fastest, done = clock() + _WARM_UP_SHARE * seconds, float("inf"), 0
    while done < _WARM_UP or (clock() < end and done < _LONGEST_BURST):
        fastest = min(fastest, _timed(call, clock))
        done += 1
    return fastest


def _burst_size(seconds: float) -> int:
    return max(1, min(_LONGEST_BURST, int(_BURST / max(seconds, 1e-9))))


def _timed(call: Call, clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start


@contextmanager
def _callers(threads: int, clock: Clock) -> Iterator[Callable[[Call, int], tuple[list[float], float]]]:
    """A function that calls something from each thread so often: the seconds of each call, and of all."""

    def one_thread(call: Call, count: int) -> tuple[list[float], float]:
        start = clock()
        latencies = [_timed(call, clock) for _ in range(count)]
        return latencies, clock() - start

    if threads == 1:
        yield one_thread
        return
    with ThreadPoolExecutor(threads) as pool:

        def many_threads(call: Call, count: int) -> tuple[list[float], float]:
            together = Barrier(threads + 1)

            def caller() -> list[float]:
                together.wait()
                return [_timed(call, clock) for _ in range(count)]

            try:
                callers = [pool.submit(caller) for _ in range(threads)]
                together.wait()
            except BaseException:  # Ctrl-C: nobody would come any more
                together.abort()
                raise
            start = clock()
            latencies = [one for each in callers for one in each.result()]
            return latencies, clock() - start

        yield many_threads
