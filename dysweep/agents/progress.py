"""What an agent says: a line for each of its runs, how much is left, and at its end what was not recorded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from dysweep.agents.execution import Result
from dysweep.agents.sources import Claim
from dysweep.directory.runs import State
from dysweep.language.metric import Metric
from dysweep.text import count, duration, estimate, short, short_value

logger = logging.getLogger("dysweep")

_LONGEST_NAME = 60
_NOT_RECORDED = "what the function returns is not recorded, and nothing was logged; give it to wandb.log"


class Progress:
    """One line per run: its place, name, outcome, duration, metric, what was chosen, how much is left.

    Args:
        metric: the sweep's metric.
        most: how many runs the agent executes at most.
    """

    def __init__(self, metric: Metric | None, most: int | None = None) -> None:
        self.metric = metric
        self.most = most
        self.done = 0
        self._finished = self._unrecorded = 0
        self._logged: dict[str, None] = {}
        self._returned: dict[str, None] = {}
        self._other_values: dict[str, str] = {}
        self.begin(None, lambda: None)

    def begin(self, total: int | None, left: Callable[[], int | None]) -> None:
        """Begin with runs of another kind.

        Args:
            total: how many there are; None if nobody knows.
            left: returns how many nobody has started yet; None for all whose places are yet to come.
        """
        self.total = total
        self._left = left
        self._before = self.done
        self._look_again = 0.0
        free = self._free()
        self._left_before = (total or 0) if free is None else free
        self._begun = time.monotonic()

    def tell(self, result: Result) -> None:
        """Write the line of a run that has ended."""
        self.done += 1
        self._note(result)
        claim, place = result.claim, result.claim.place
        reached = self.metric.shown(result.metrics) if self.metric is not None else ""
        reached += "  " if reached else ""
        early = "" if result.stopped_early is None else f"{result.stopped_early}  "
        logger.info(
            "%s  %s  %-9s %7s  %s%s%s%s",
            self._count(place), _called(claim), result.outcome,
            duration(result.seconds), reached, early, short(claim.assignment), self._estimate(place),
        )  # fmt: skip

    def end(self) -> None:
        """Say, once for all runs, what the sweep waits for and none of them has recorded."""
        returned = ", ".join(map(short_value, self._returned))
        if self._finished and self.metric is not None and self.metric.logged_as(self._logged) is None:
            name = self.metric.name
            meant = self.metric.meant(self._logged)
            shown = f"the runs logged {self._shown_names() or 'nothing'}"
            if name in self._other_values:
                kind = self._other_values[name]
                logger.warning("metric %r was logged as %s; log a number (float(...) of it)", name, kind)
            elif returned and (name in self._returned or not meant):
                unrecorded = f"the function returned {returned}, which is not recorded: give it to wandb.log"
                logger.warning("metric %r was never logged; %s (%s)", name, unrecorded, shown)
            elif self._unrecorded and not self._logged:
                logger.warning("metric %r was never logged; %s", name, _NOT_RECORDED)
            elif meant:
                logger.warning("metric %r was never logged; did you mean %r? (%s)", name, meant, shown)
            else:
                logger.warning("metric %r was never logged; %s", name, shown)
        elif self._unrecorded and not self._logged and not self._other_values:
            logger.warning("%s", _NOT_RECORDED)

    def _note(self, result: Result) -> None:
        self._logged |= dict.fromkeys(result.metrics)
        self._other_values |= result.other_values
        if result.outcome is not State.FINISHED:
            return
        self._finished += 1
        self._unrecorded += _is_measured(result.value) or _holds_numbers(result.value)
        self._returned |= dict.fromkeys(_names_of_numbers(result.value))

    def _shown_names(self) -> str:
        names = [short_value(name) for name in {**self._logged, **self._other_values}]
        return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")

    def _count(self, place: int) -> str:
        if self.total is None:
            return count(place)
        of_all = count(self.total)
        return f"{place:{len(of_all)}}/{of_all}" if of_all.isdecimal() else f"{place}/{of_all}"

    def _free(self) -> int | None:
        """Return how many runs nobody has started, as far as is known.

        Among 100,000 runs a look takes longer than the start of one, so looks take 1 % of the time at most.
        """
        begun = time.monotonic()
        if begun >= self._look_again:
            self._seen, self._done_then = self._left(), self.done
            self._look_again = begun + 100 * (time.monotonic() - begun)
        return None if self._seen is None else max(0, self._seen - (self.done - self._done_then))

    def _estimate(self, place: int) -> str:
        if self.total is None:
            return ""
        free = self._free()
        left = max(0, self.total - place if free is None else free)
        # How many have been started since, by all agents: the grid gets smaller by that rate.
        others_too = max(1, self._left_before - left)
        elapsed = time.monotonic() - self._begun
        if self.most is not None:
            # Of those left this agent executes at most its share, as fast as it has been so far.
            own = self.done - self._before
            left = min(-(-left * own // others_too), self.most - self.done)
            others_too = own
        return f"  ({estimate(elapsed / others_too, left)} left)" if left > 0 else ""


def _is_measured(value: Any) -> bool:
    """Return whether this is a number as training ends with: a float, numpy's, or a tensor of one number."""
    if isinstance(value, Real):
        return not isinstance(value, Integral)
    return getattr(value, "ndim", None) == 0 and hasattr(value, "item")


def _holds_numbers(value: Any) -> bool:
    """Return whether this looks like metrics: a mapping of numbers, or a list of such, as Lightning gives."""
    if isinstance(value, Mapping):
        numbers = [each for each in value.values() if isinstance(each, Real) and not isinstance(each, bool)]
        return bool(numbers) or any(_is_measured(each) or _holds_numbers(each) for each in value.values())
    return isinstance(value, (list, tuple)) and any(
        _is_measured(each) or _holds_numbers(each) for each in value[:10]
    )


def _names_of_numbers(value: Any) -> list[str]:
    """Return the names of numbers in a mapping, or in the first one of a list of such."""
    if isinstance(value, (list, tuple)):
        return _names_of_numbers(value[0]) if value else []
    if not isinstance(value, Mapping):
        return []
    return [str(key) for key, each in value.items() if _is_measured(each) or type(each) is int]


def _called(claim: Claim) -> str:
    if claim.name in (None, claim.run_id):
        return claim.run_id
    return f"{claim.run_id}  {short_value(str(claim.name), _LONGEST_NAME)}"
