"""AEDAT4 recordings with frames (extra ``aedat``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from slr_cma.data.events import Events, Recording

__all__ = ["read_aedat4"]


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
    except Exception as error:
        # the decoder has exception types of its own for each kind of damage
        raise ValueError(f"{path} is truncated or no AEDAT4 file ({error})") from None
    size = (int(streams[kinds["events"]]["height"]), int(streams[kinds["events"]]["width"]))
    ev = np.concatenate(parts) if parts else np.zeros(0, [("t", "u8"), ("x", "u2"), ("y", "u2"), ("on", "?")])
    events = Events.from_arrays(
        ev["t"].astype(np.int64), ev["x"], ev["y"], ev["on"].astype(np.uint8), size=size, unit="us", where=str(path)
    )
    shape = (0, *size) if not images else (len(images), *images[0].shape)
    stacked = np.array(images, np.uint8).reshape(shape)
    return Recording(events, np.array(times, np.int64), stacked)
