"""What dysweep says to people, and the streams for it: who reads there may leave, and the work continues."""

from __future__ import annotations

import errno
import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from dysweep.text import harmless

logger = logging.getLogger("dysweep")


def say(text: str) -> None:
    """Write a line on what sys.stderr is at the moment, as notebooks and tests replace it.

    Names, errors and values in it come from files and servers: nothing in them steers the terminal.
    """
    if sys.stderr is None:
        return
    try:
        print(harmless(text), file=sys.stderr, flush=True)
    except OSError as error:
        if not is_without_reader(error):
            raise
        discard(sys.stderr)


def is_without_reader(error: OSError) -> bool:
    """Return whether a write failed because the reader, a pipe's other end or a terminal, has gone."""
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
    # Not propagated: a module that sets up the root logger would print every line a second time.
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


def open_closed_streams() -> None:
    """Let closed streams (`>&-`) lead nowhere: the next file that is opened would get their number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, open(number, mode))


def is_stdout_closed() -> bool:
    """Return whether who reads stdout has gone, as `head` does."""
    try:
        gone = select.poll()
        gone.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in gone.poll(0))
    except (OSError, ValueError, AttributeError):
        return False
