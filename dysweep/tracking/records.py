"""What W&B's SDK has written on disk about a run: the records of its `.wandb` file."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from wandb.proto import wandb_internal_pb2

# LevelDB's log format, https://github.com/google/leveldb/blob/main/doc/log_format.md, after W&B's own header.
# The SDK's reader of it, `wandb.sdk.internal.datastore`, is gone since 0.31; its messages are still there.
_FILE_HEADER = struct.Struct("<4sHB")
_OPENING = (b":W&B", 0xBEE1)
_BLOCK = 1 << 15
_RECORD_HEADER = struct.Struct("<IHB")  # checksum, length, kind
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_CHECKSUMS = {kind: zlib.crc32(bytes([kind])) for kind in (_FULL, _FIRST, _MIDDLE, _LAST)}


def read_records(path: Path) -> Iterator[Any]:
    """Read the records of a `.wandb` file, up to where it is cut off if its writer was killed.

    Args:
        path: the file.
    """
    with suppress(ValueError):
        for record, _ in records_after(path, 0):
            yield record


def records_after(path: Path, start: int) -> Iterator[tuple[Any, int]]:
    """Read the records of a `.wandb` file from a place on, each with the place where it ends.

    A record that is not written to its end yet is left for the next time.

    Args:
        path: the file.
        start: 0, or where a record has ended.

    Raises:
        ValueError: the file is damaged.
    """
    with path.open("rb") as file:
        header = file.read(_FILE_HEADER.size)
        if len(header) < _FILE_HEADER.size:
            return
        if _FILE_HEADER.unpack(header)[:2] != _OPENING:
            raise ValueError("it does not begin as W&B's files do")
        file.seek(max(start, _FILE_HEADER.size))
        for content, end in _contents(file):
            record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
            try:
                record.ParseFromString(content)
            except DecodeError:
                raise ValueError(f"damaged before byte {end}") from None
            yield record, end


def _contents(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    content = b""
    at = file.tell()
    while True:
        left = _BLOCK - at % _BLOCK
        if left < _RECORD_HEADER.size:
            at = file.seek(left, 1)
        header = file.read(_RECORD_HEADER.size)
        if len(header) < _RECORD_HEADER.size:
            return
        checksum, length, kind = _RECORD_HEADER.unpack(header)
        part = file.read(length)
        if kind not in _CHECKSUMS:
            raise ValueError(f"damaged at byte {at}")
        if len(part) < length:
            return
        if zlib.crc32(part, _CHECKSUMS[kind]) != checksum:
            raise ValueError(f"damaged at byte {at}")
        at += len(header) + length
        content = part if kind in (_FULL, _FIRST) else content + part
        if kind in (_FULL, _LAST):
            yield content, at


@dataclass
class WrittenRun:
    """A run as one start of it has left it on disk.

    Attributes:
        run_id: its id.
        name: its display name.
        group: its group.
        summary: the last value of all that was logged.
        exit_code: with which it was ended; None if its process was killed.
        last_step: the last step that it has logged; None if there is none.
    """

    run_id: str = ""
    name: str = ""
    group: str = ""
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    last_step: int | None = None


def read_run(path: Path) -> WrittenRun:
    """Read what a `.wandb` file says of its run."""
    found = WrittenRun()
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run_id, found.name = record.run.run_id, record.run.display_name
            found.group = record.run.run_group
        elif kind == "history":
            found.last_step = record.history.step.num
        elif kind == "summary":
            _update(found.summary, record.summary.update)
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _update(summary: dict[str, Any], items: Any) -> None:
    for item in items:
        *folders, key = list(item.nested_key) or [item.key]
        place = summary
        for each in folders:
            inner = place.get(each)
            place[each] = place = inner if isinstance(inner, dict) else {}
        place[key] = json.loads(item.value_json)


def last_offline_step(run_path: Path) -> int | None:
    """Read the last step that a run has logged offline; None if there is none.

    Args:
        run_path: the run's directory.
    """
    files = run_path.glob("wandb/offline-run-*/*.wandb")
    steps = [step for file in files if (step := read_run(file).last_step) is not None]
    return max(steps, default=None)
