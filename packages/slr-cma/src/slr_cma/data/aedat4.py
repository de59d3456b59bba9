"""AEDAT4 recordings with frames (extra ``aedat``)."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

import numpy as np

from slr_cma.data.events import Events, Recording

__all__ = ["read_aedat4"]

MAGIC = b"#!AER-DAT4.0\r\n"


def read_aedat4(path: Path | str) -> Recording:
    """Events and frames of an AEDAT4 file, times in ns.

    Frames are optional: without a frame stream ``times`` and ``images`` are empty. Where there are several streams of
    a kind, the first is read.

    Raises:
        ImportError: the extra is missing. ValueError: missing, truncated or foreign file, no event stream.
    """
    try:
        import aedat
    except ImportError:
        raise ImportError("reading AEDAT4 needs the decoder: pip install 'slr-cma[aedat]'") from None
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    with path.open("rb") as file:
        try:
            _check(file)
        except (ValueError, struct.error, ElementTree.ParseError) as error:
            raise ValueError(f"{path} is truncated or no AEDAT4 file ({error})") from None
    try:
        decoder = aedat.Decoder(path)
        streams = decoder.id_to_stream()
        kinds = {kind: next((i for i, s in streams.items() if s["type"] == kind), None) for kind in ("events", "frame")}
        if kinds["events"] is None:
            raise ValueError(f"{path} has no event stream; it holds {', '.join(s['type'] for s in streams.values())}")
        parts: list[Any] = []
        times: list[int] = []
        images: list[Any] = []
        for packet in decoder:
            if packet["stream_id"] == kinds["events"]:
                parts.append(packet["events"])
            elif packet["stream_id"] == kinds["frame"]:
                times.append(int(packet["frame"]["t"]) * 1000)
                images.append(np.array(packet["frame"]["pixels"]))
    except ValueError:
        raise
    except BaseException as error:
        # the decoder has exception types of its own, and panics (no Exception to Python) where sizes inside lie
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"{path} is truncated or no AEDAT4 file ({error})") from None
    size = (int(streams[kinds["events"]]["height"]), int(streams[kinds["events"]]["width"]))
    ev = np.concatenate(parts) if parts else np.zeros(0, [("t", "u8"), ("x", "u2"), ("y", "u2"), ("on", "?")])
    events = Events.from_arrays(
        ev["t"].astype(np.int64), ev["x"], ev["y"], ev["on"].astype(np.uint8), size=size, unit="us", where=str(path)
    )
    shape = (0, *size) if not images else (len(images), *images[0].shape)
    stacked = np.array(images, np.uint8).reshape(shape)
    return Recording(events, np.array(times, np.int64), stacked)


def _check(file: IO[bytes]) -> None:
    """The frame of the file: a decoder that trusts a damaged one would end the process.

    Magic, size and FlatBuffer of the header (field 1: where the packets end, field 2: XML about the streams), then
    packets of stream number and size.
    """
    total = os.fstat(file.fileno()).st_size
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("it does not begin as one")
    (size,) = struct.unpack("<I", file.read(4))
    if size > total:
        raise ValueError(f"its header of {size} bytes is longer than the file")
    header = file.read(size)
    (root,) = struct.unpack_from("<I", header)
    (back,) = struct.unpack_from("<i", header, root)
    fields = struct.unpack_from("<5H", header, _inside(root - back, header))
    at = root + fields[4]
    at += struct.unpack_from("<I", header, at)[0]
    (length,) = struct.unpack_from("<I", header, at)
    ElementTree.fromstring(header[at + 4 : at + 4 + length].decode())
    end = struct.unpack_from("<q", header, root + fields[3])[0] if fields[3] else -1
    at, end = len(MAGIC) + 4 + size, total if end < 0 else end
    while at < end:
        file.seek(at)
        _, size = struct.unpack("<iI", file.read(8))
        at += 8 + size
        if at > total:
            raise ValueError(f"a packet ends at byte {at}, the file at {total}")


def _inside(at: int, data: bytes) -> int:
    if not 0 <= at < len(data):
        raise ValueError(f"its header points to byte {at} of {len(data)}")
    return at
