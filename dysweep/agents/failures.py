"""The errors of an agent's runs: each is shown once, and an agent whose runs all fail alike stops."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLACE = re.compile(r'File "(.+)", line (\d+)')


class Failures:
    """Tells which runs have failed with the same error: of the same type, at the same place.

    Args:
        most: how many of the agent's first runs may fail with the same error; 0 for any number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._first_runs: dict[tuple[str, ...], str] = {}
        self._executed = 0
        self._same = 0

    def same_as(self, error: Mapping[str, str], run_id: str) -> str | None:
        """Note an error; return the first run that had the same one, None if this is it."""
        # Those of a program have its last lines instead of a traceback.
        places = _PLACE.findall(error["traceback"])
        key = (error["type"], *(places[-1] if places else [error["message"]]))
        first = self._first_runs.setdefault(key, run_id)
        self._same += 1
        return None if first == run_id else first

    def note_end(self) -> None:
        """Note that a run has ended."""
        self._executed += 1

    @property
    def reason_to_stop(self) -> str | None:
        """Why the agent should stop; None if it should not."""
        hopeless = self._most and self._executed == self._same == self._most and len(self._first_runs) == 1
        if not hopeless:
            return None
        [first] = self._first_runs.values()
        which = (
            f"the first {self._most} runs failed with the error of {first}"
            if self._most > 1
            else f"{first} failed"
        )
        return f"stopped: {which}; fix that and resume, or set --max_failures 0"
