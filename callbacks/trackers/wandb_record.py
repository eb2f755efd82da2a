"""Reader of W&B's local files: the rows that it has recorded of a run."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEP = "trainer/global_step"
"""The axis of all metrics, as Lightning's `WandbLogger` names it."""

FILE_HEADER, BLOCK, CHUNK_HEADER = 7, 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
"""Kinds of chunks; a record consists of one or several."""


def recorded_step(folder: Path, run_id: str) -> int:
    """Return the last step in the offline records of a run, -1 if there is none.

    A killed process leaves a truncated record: W&B keeps up to 32 KiB in memory.

    Args:
        folder: The folder `wandb` of the run folder.
        run_id: Id of the run.
    """
    files = folder.glob(f"offline-run-*-{run_id}/*.wandb")
    rows = (row for path in files for row in history(path))
    return max((int(row[STEP]) for row in rows if STEP in row), default=-1)


def history(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the logged rows of a `.wandb` file, up to the first incomplete record."""
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    for content in _records(path.read_bytes()):
        record = Record()
        try:
            record.ParseFromString(content)
        except DecodeError:
            return
        if record.WhichOneof("record_type") == "history":
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a file in LevelDB's log format, which has chunks of checksum, length, kind and content."""
    place, record = FILE_HEADER, b""
    while place + CHUNK_HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < CHUNK_HEADER:  # no header fits: the rest is padding
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        content = data[place + CHUNK_HEADER : place + CHUNK_HEADER + length]
        if kind not in (FULL, FIRST, MIDDLE, LAST) or len(content) < length:
            return
        place += CHUNK_HEADER + length
        record = content if kind in (FULL, FIRST) else record + content
        if kind in (FULL, LAST):
            yield record
