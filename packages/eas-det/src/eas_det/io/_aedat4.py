"""AEDAT4: a FlatBuffers header, then packets compressed with LZ4 or Zstandard. The polarity events are read.

Written here because the libraries that read the format end the whole process on a damaged file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from eas_det.errors import DecodeError
from eas_det.events import check_size

from ._source import ArraySource, Defects

_MAGIC = b"#!AER-DAT4.0\r\n"
_EVENT = np.dtype({"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "?"], "offsets": [0, 8, 10, 12],
                   "itemsize": 16})  # fmt: skip
_LARGEST = 1 << 28  # bytes of one packet, decompressed; cameras write less than a megabyte


def read_aedat4(path: Path, size: tuple[int, int] | None, defects: Defects) -> ArraySource:
    """Polarity events of the first stream that has any; frames, triggers and inertial samples are left out."""
    content = path.read_bytes()
    if not content.startswith(_MAGIC):
        raise DecodeError(path, 0, f"begins with {content[:14]!r}; expected {_MAGIC!r}")
    try:
        length = _number("<I", content, len(_MAGIC))
        body = len(_MAGIC) + 4
        compression, table, info = _header(content[body : body + length])
    except (ValueError, struct.error) as error:
        raise DecodeError(path, len(_MAGIC), f"the header is damaged: {error}") from None
    place = body + length
    end = table if place <= table <= len(content) else len(content)
    unpack = _decompressor(path, compression)
    parts, chosen = [], None
    while place < end:
        try:
            stream, packed = _number("<i", content, place), _number("<i", content, place + 4)
            if packed < 0 or place + 8 + packed > end:
                raise ValueError(f"a packet of {packed} bytes, {max(end - place - 8, 0)} are left")
            if chosen is None or stream == chosen:
                data = unpack(content[place + 8 : place + 8 + packed])
                if data[8:12] == b"EVTS":
                    chosen = stream
                    parts.append(_events(data))
        except Exception as error:  # the decompressors have errors of their own
            defects.report(place, f"a packet cannot be read: {error}")
            break
        place += 8 + packed
    if not parts:
        raise DecodeError(path, None, "the file has no packet of events")
    events = np.concatenate(parts)
    fields = events["t"], events["x"], events["y"], events["p"]
    return ArraySource("aedat4", fields, size or _sensor(info, chosen), defects)


def _number(form: str, data: bytes, place: int) -> int:
    if place < 0 or place + struct.calcsize(form) > len(data):
        raise ValueError(f"an offset leads to byte {place} of {len(data)}")
    return int(struct.unpack_from(form, data, place)[0])


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where field ``number`` of a FlatBuffers table lies; None where it has its default."""
    layout = table - _number("<i", data, table)
    if 4 + 2 * number >= _number("<H", data, layout):
        return None
    offset = _number("<H", data, layout + 4 + 2 * number)
    return table + offset if offset else None


def _vector(data: bytes, place: int, width: int) -> tuple[int, int]:
    """(first byte, number of elements) of the vector that the field at ``place`` points to; it fits into data."""
    start = place + _number("<I", data, place)
    count = _number("<I", data, start)
    if start + 4 + width * count > len(data):
        raise ValueError(f"{count} elements of {width} bytes in {len(data) - start - 4}")
    return start + 4, count


def _header(data: bytes) -> tuple[int, int, str]:
    """(compression, position of the table of packets or -1, description of the streams)"""
    table = _number("<I", data, 0)
    places = [_field(data, table, number) for number in range(3)]
    compression = 0 if places[0] is None else _number("<i", data, places[0])
    position = -1 if places[1] is None else _number("<q", data, places[1])
    info = ""
    if places[2] is not None:
        start, count = _vector(data, places[2], 1)
        info = data[start : start + count].decode("utf-8", "replace")
    return compression, position, info


def _decompressor(path: Path, kind: int) -> Callable[[bytes], bytes]:
    if kind == 0:
        return bytes
    if kind not in (1, 2, 3, 4):
        raise DecodeError(path, len(_MAGIC), f"compression {kind}; expected 0 (none), 1, 2 (LZ4), 3 or 4 (Zstandard)")
    try:
        if kind in (1, 2):
            frame = import_module("lz4.frame")
            return lambda data: bytes(frame.LZ4FrameDecompressor().decompress(data, max_length=_LARGEST))
        zstandard = import_module("zstandard")
        return lambda data: bytes(zstandard.ZstdDecompressor().stream_reader(data).read(_LARGEST))
    except ImportError:
        raise ImportError("compressed AEDAT4 needs lz4 and zstandard: pip install 'eas-det[aedat]'") from None


def _events(data: bytes) -> Any:
    data = data[4:]  # the size stands before it once more
    place = _field(data, _number("<I", data, 0), 0)
    if place is None:
        return np.empty(0, _EVENT)
    start, count = _vector(data, place, _EVENT.itemsize)
    array = np.frombuffer(data, _EVENT, count, start)
    if array["p"].view(np.uint8).max(initial=0) > 1:
        raise ValueError("a polarity is neither 0 nor 1")
    return array


def _sensor(info: str, stream: int | None) -> tuple[int, int] | None:
    """Size that the description gives for a stream. Its XML is searched, not parsed: nothing in it can expand."""
    begin = info.find(f'path="/mainloop/Recorder/outInfo/{stream}/"')
    numbers = [re.search(rf'key="{key}"[^>]*>(\d{{1,5}})<', info[max(begin, 0) :]) for key in ("sizeX", "sizeY")]
    if numbers[0] is None or numbers[1] is None:
        return None
    width, height = int(numbers[0][1]), int(numbers[1][1])
    return check_size((width, height)) if 0 < width <= 65536 and 0 < height <= 65536 else None
