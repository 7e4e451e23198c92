"""What a function or a program prints goes to the attempt's log as well."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from dysweep.directory.runs import Attempt
from dysweep.errors import DirectoryError
from dysweep.log import discard, is_without_reader

logger = logging.getLogger("dysweep")

_LAST_LINES = 20
_LONGEST_SHOWN = 1000
_LONGEST_LINE = 1 << 20  # without an end, kept in memory


@contextmanager
def captured(attempt: Attempt, max_bytes: int) -> Iterator[None]:
    """Write what is printed to the attempt's log as well.

    Args:
        attempt: the attempt.
        max_bytes: how long the log may be; of more the middle is cut.

    Raises:
        DirectoryError: the log cannot be written.
    """
    out, err = _tee("stdout"), _tee("stderr")
    try:
        # Through no link: somebody who may write to the directory could let it lead to any file of this user.
        log = os.open(attempt.log_path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise DirectoryError(f"{attempt.log_path}: cannot be written ({error.strerror})") from None
    out.log = err.log = kept = _Log(log, str(attempt.log_path), max_bytes)
    try:
        with split_output(), _root_handlers_to(out, err):
            yield
    finally:
        out.log = err.log = None
        kept.close()


@contextmanager
def split_output() -> Iterator[None]:
    """Let stdout and stderr lead to the attempt of the moment, also for loggers that modules set up."""
    with redirect_stdout(_tee("stdout")), redirect_stderr(_tee("stderr")):
        yield


@contextmanager
def _root_handlers_to(*tees: _Tee) -> Iterator[None]:
    """Redirect handlers of logging that were set up before, which keep the stream of that time."""
    changed = [
        (handler, tee)
        for handler in logging.root.handlers
        for tee in tees
        # Files and other streams stay where they are.
        if isinstance(handler, logging.StreamHandler) and handler.stream is tee.stream
    ]
    for handler, tee in changed:
        handler.setStream(tee)
    try:
        yield
    finally:
        for handler, tee in changed:
            handler.setStream(tee.stream)


class _Log:
    """The attempt's log; a full or vanished disk ends the log, with a warning, and not the training.

    Nothing is kept in memory, where a forked child would find it and write it a second time.
    """

    def __init__(self, descriptor: int, path: str, max_bytes: int) -> None:
        self._descriptor = descriptor
        self._path = path
        self._max_bytes = max_bytes
        self._failed = False

    def write(self, data: bytes) -> None:
        while data and not self._failed:
            try:
                data = data[os.write(self._descriptor, data) :]
                self._cut()
            except OSError as error:
                self._fails(error)

    def _cut(self) -> None:
        """Cut the middle of a log that has become too long: its first half stays, and its last quarter."""
        # Its size is asked, not counted: forked children write to it, too.
        size = os.fstat(self._descriptor).st_size
        if size <= self._max_bytes:
            return
        first, last = self._max_bytes // 2, self._max_bytes // 4
        end = os.pread(self._descriptor, last, size - last)
        os.ftruncate(self._descriptor, first)
        os.write(self._descriptor, b"\n[... cut by dysweep: longer than max_log_mb ...]\n")
        os.write(self._descriptor, end)

    def close(self) -> None:
        try:
            os.close(self._descriptor)
        except OSError as error:  # network file systems tell here what they could not write
            self._fails(error)

    def _fails(self, error: OSError) -> None:
        told, self._failed = self._failed, True  # first, as the warning is written to the log, too
        if not told:
            logger.warning("%s: not everything could be written (%s)", self._path, error.strerror)


class _Tee:
    """A text stream that writes to the log of the moment too; everything else is the stream's own.

    It stays the same for all runs, as loggers that the function or its libraries set up keep it.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.log: _Log | None = None

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.log is not None:
            self.log.write(text.encode("utf-8", "backslashreplace"))
        # The log first: what the reader's end or a full disk prevents is in it.
        if self.stream is not None:  # as under pythonw
            with self.while_read():
                self.stream.write(text)
        return len(text)

    @property
    def buffer(self) -> _Bytes:
        return _Bytes(self)

    def detach(self) -> _Bytes:
        """Return the bytes below, as whoever detaches them wraps them anew; the process keeps its stream."""
        return self.buffer

    def __enter__(self) -> _Tee:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def flush(self) -> None:
        if self.stream is not None:
            with self.while_read():
                self.stream.flush()

    def close(self) -> None:
        """Keep the process's own stream open for the next run."""
        self.flush()

    @contextmanager
    def while_read(self) -> Iterator[None]:
        """Let the training and its log continue when `head` or a closed terminal has stopped reading."""
        try:
            yield
        except OSError as error:
            if not is_without_reader(error):
                raise
            discard(self.stream)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "stream":  # of a copy that is not made yet
            raise AttributeError(name)
        return getattr(self.stream, name)


class Relay:
    """Writes what a program prints to this process's streams, and its lines to the attempt's log.

    Of a line that was overwritten, as by a progress bar, the log has what stood there at last.

    Attributes:
        last_lines: the last lines that were not empty.
    """

    def __init__(self) -> None:
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._begun = {"stdout": b"", "stderr": b""}

    def write(self, name: str, data: bytes) -> None:
        """Write what the program has written to its stdout or stderr."""
        tee = _tee(name)
        *lines, begun = (self._begun[name] + data).split(b"\n")
        for line in lines:
            self._keep(tee, _overwritten(line.removesuffix(b"\r")))
        begun = _overwritten(begun)
        if len(begun) > _LONGEST_LINE:
            self._keep(tee, begun)
            begun = b""
        self._begun[name] = begun
        if tee.stream is not None:
            with tee.while_read():
                if hasattr(tee.stream, "buffer"):
                    tee.stream.buffer.write(data)
                else:  # a notebook's
                    tee.stream.write(data.decode(errors="backslashreplace"))
                tee.stream.flush()

    def end(self) -> None:
        """Write the lines that were not ended."""
        for name, line in self._begun.items():
            if line:
                self._keep(_tee(name), line)

    def _keep(self, tee: _Tee, line: bytes) -> None:
        if tee.log is not None:
            tee.log.write(line + b"\n")
        if line.strip():
            self.last_lines.append(line[:_LONGEST_SHOWN].decode(errors="backslashreplace"))


def _overwritten(line: bytes) -> bytes:
    """Return what is left of a line that was overwritten; a carriage return at its end overwrites nothing."""
    whole = line.rstrip(b"\r")
    return whole[whole.rfind(b"\r") + 1 :] + line[len(whole) :]


class _Bytes(io.RawIOBase):
    """The bytes of a split stream, which stay open when a wrapper around them is deleted."""

    def __init__(self, tee: _Tee) -> None:
        self._tee = tee

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._tee.isatty())

    def fileno(self) -> int:
        return int(self._tee.fileno())

    def write(self, data: Any) -> int:
        content = bytes(data)
        if hasattr(self._tee.stream, "buffer"):
            self._tee.flush()
            if self._tee.log is not None:
                self._tee.log.write(content)
            with self._tee.while_read():
                self._tee.stream.buffer.write(content)
                self._tee.stream.flush()
        else:  # a notebook's
            self._tee.write(content.decode(errors="backslashreplace"))
        return len(content)


_tees: dict[str, _Tee] = {}


def _tee(name: str) -> Any:
    stream = getattr(sys, name)
    if isinstance(stream, _Tee):
        return stream
    if name not in _tees or _tees[name].stream is not stream:
        _tees[name] = _Tee(stream)
    return _tees[name]
