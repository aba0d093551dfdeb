"""Time left of a stage: told only from when what was measured speaks for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

__all__ = ["ChangingTimeLeft", "TimeLeft"]

OBSERVED = 8  # units, at least, that must be finished after the first of each worker
AHEAD = 3  # blocks that must be left: before the end, the time left hangs on what single workers are at
FORETOLD = 1.5  # times the measured work: a machine that others use as well does not stay as it is
DRIFT = 1.2  # ratio to the mean, either way, of the time of older or of newer blocks above which nothing is told


class TimeLeft:
    """When work of equal units, or of shares of units, will be finished.

    Time is measured for blocks of work, in which each worker finishes one unit (or a quarter of one, where shares are
    reported): workers that started together finish together, so that the time from one unit to the next is 0 or that
    of a whole unit, where that of blocks is steady. The first block is not counted: it pays for imports and caches.
    The mean time of a block, from n of them, is told for the m blocks that are left if

    - at least `OBSERVED` units' blocks were measured, and at least `AHEAD` and at most `FORETOLD` times as many are
      left,
    - the mean of n blocks and that of m blocks do not differ by half where blocks vary as they have so far: t times
      the coefficient of variation times sqrt(1/n + 1/m) is at most 0.5, t being Student's one-sided quantile for
      0.99, and
    - older and newer blocks take the mean time within `DRIFT`, and another block as long as the longest would not
      take half of the time that is told.

    So a told time is within a factor of two of the truth, unless what is left differs in kind from what was done:
    a stall to come, or one unit that outweighs many, cannot be foreseen.

    Parameters
    ----------
    total
        Units of work, without those of earlier runs.
    workers
        Units that are worked on at a time.
    share
        Part of a unit that each worker finishes in a block: 1 where finished units alone are reported.
    start
        Time when the work begins, in seconds.
    """

    def __init__(self, total: float, workers: int, share: float, start: float) -> None:
        self.total, self.workers = total, max(1, min(workers, math.ceil(total)))
        self._block = self.workers * share
        self._least = max(2, round(1 / share), math.ceil(OBSERVED / self.workers))
        self._last = (start, 0.0)  # time and work of the last report
        self._ends: list[float] = []  # of each block, the first included
        self._finish: float | None = None

    def report(self, now: float, done: float, at_work: Sequence[float] = ()) -> None:
        """Take what is finished.

        Parameters
        ----------
        now
            Time in seconds.
        done
            Units finished since the start, shares of those at work included; never falls.
        at_work
            What is left of each unit at work, in units, where it is known.
        """
        then, before = self._last
        while done >= (next_end := (len(self._ends) + 1) * self._block) - 1e-9 and done > before:
            part = min(1.0, (next_end - before) / (done - before))
            self._ends.append(then + part * (now - then))
        self._last = (now, max(done, before))
        each = self._each()
        self._finish = None if each is None else now + self._needed(each, at_work)

    def left(self, now: float) -> float | None:
        """Seconds left; None where nothing is known of them, or nothing was heard for half of that time."""
        if self._finish is None:
            return None
        told, heard = self._finish - self._last[0], now - self._last[0]
        return None if heard > told / 2 else told - heard

    def _each(self) -> float | None:
        """Time of a block, if it speaks for those that are left."""
        times = [b - a for a, b in zip(self._ends, self._ends[1:], strict=False)]
        count, ahead = len(times), (self.total - self._last[1]) / self._block
        if count < self._least or not AHEAD <= ahead <= FORETOLD * count:
            return None
        mean = fmean(times)
        if mean <= 0 or max(times) > mean * ahead / 2:
            return None
        quantile = 2.33 + 6.6 / (count - 1)  # Student's for 0.99, from above for 3 degrees of freedom and more
        if quantile * stdev(times) / mean * math.sqrt(1 / count + 1 / ahead) > 0.5:
            return None
        halves = fmean(times[: count // 2]), fmean(times[count // 2 :])
        recent = fmean(times[-max(1, count // 4) :])
        if any(not mean / DRIFT <= one <= mean * DRIFT for one in (*halves, recent)):
            return None
        return mean

    def _needed(self, each: float, at_work: Sequence[float]) -> float:
        """Seconds for what is left; where shares are known, workers that idle at the end are counted."""
        left = self.total - self._last[1]
        if not at_work:
            return each * left / self._block
        unit = each * self.workers / self._block  # seconds that a worker takes for a unit
        ends = sorted(at_work)[: self.workers]
        ends += [0.0] * (self.workers - len(ends))
        waiting = left - sum(at_work)
        while waiting > 1e-9:  # the worker that is free first takes the next unit
            ends.sort()
            ends[0] += min(1.0, waiting)
            waiting -= 1.0
        return unit * max(ends)


class ChangingTimeLeft:
    """`TimeLeft` for a number of workers that changes, as on a cluster: measured anew from each change on.

    Parameters
    ----------
    total, workers, share, start
        As of `TimeLeft`.
    """

    def __init__(self, total: float, workers: int, share: float, start: float) -> None:
        self._total, self._workers, self._share = total, workers, share
        self._before = 0.0  # work that was done by another number of workers
        self._left = TimeLeft(total, workers, share, start)

    def report(self, now: float, done: float, workers: int, at_work: Sequence[float] = ()) -> None:
        """Take what is finished, and by how many workers at present; the rest as of `TimeLeft.report`."""
        if workers != self._workers:
            self._workers, self._before = workers, done
            self._left = TimeLeft(self._total - done, workers, self._share, now)
        self._left.report(now, done - self._before, at_work)

    def left(self, now: float) -> float | None:
        """Seconds left, as of `TimeLeft.left`."""
        return self._left.left(now)
