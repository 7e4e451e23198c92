"""What dysweep says to people, on stderr; who reads there may leave, and the work goes on."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

logger = logging.getLogger("dysweep")


def say(text: str) -> None:
    """Write a line on what sys.stderr is at the moment, as notebooks and tests replace it."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError as error:
        if not is_without_reader(error):
            raise
        discard(sys.stderr)


def is_without_reader(error: OSError) -> bool:
    """Tell whether a write failed because the reader, a pipe's other end or a terminal, has gone."""
    return error.errno in (errno.EPIPE, errno.EIO)


def discard(stream: TextIO) -> None:
    """Send what is still to be written to a stream, and what it has buffered, to nowhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


@contextmanager
def said_on_stderr() -> Iterator[None]:
    """Show on stderr what dysweep logs, once, however logging is set up meanwhile."""
    before = logger.level, logger.propagate
    handler = _StderrHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


def say_by_default() -> None:
    """Show on stderr what dysweep logs, unless the program has set up logging itself."""
    if not logger.hasHandlers():
        logger.addHandler(_StderrHandler())
        logger.setLevel(logging.INFO)
