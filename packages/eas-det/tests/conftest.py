"""Shared by the tests: random recordings, and encoders of formats that the package only reads."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eas_det import Events, write_dat, write_npz


def make_events(n: int = 2000, size: tuple[int, int] = (34, 34), seed: int = 0, span: int = 90_000) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(100, 100 + span, n))
    return Events(t, rng.integers(0, size[0], n), rng.integers(0, size[1], n), rng.integers(0, 2, n), size)


def encode_evt2(events: Events) -> bytes:
    """EVT 2.0 words, by the layout: a time word whenever the upper 28 bits change."""
    words, high = [], -1
    for t, x, y, p in zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True):
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 28 | high & 0xFFFFFFF)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    header = f"% evt 2.0\n% geometry {events.sensor_size[0]}x{events.sensor_size[1]}\n% end\n"
    return header.encode() + struct.pack(f"<{len(words)}I", *words)


def encode_evt3(events: Events, vectors: bool = True) -> bytes:
    """EVT 3.0 words; runs of one time, row and polarity in rising columns become vectors."""
    words: list[int] = []
    state: dict[str, Any] = {"high": None, "low": None, "row": None}
    rows = list(zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True))
    i = 0
    while i < len(rows):
        t, x, y, p = rows[i]
        high, low = t >> 12, t & 0xFFF
        if high != state["high"]:
            words.append(8 << 12 | high & 0xFFF)
            state["high"], state["low"] = high, None
        if low != state["low"]:
            words.append(6 << 12 | low)
            state["low"] = low
        if y != state["row"]:
            words.append(y)
            state["row"] = y
        j = i
        while (
            vectors
            and j + 1 < len(rows)
            and rows[j + 1][0::2] == (t, y)
            and rows[j + 1][3] == p
            and (rows[j + 1][1] > rows[j][1] and rows[j + 1][1] < x + 12)
        ):
            j += 1
        if j > i:
            words.append(3 << 12 | p << 11 | x)
            words.append(4 << 12 | sum(1 << (rows[k][1] - x) for k in range(i, j + 1)))
        else:
            words.append(2 << 12 | p << 11 | x)
        i = j + 1
    header = f"% evt 3.0\n% format EVT3;height={events.sensor_size[1]};width={events.sensor_size[0]}\n% end\n"
    return header.encode() + struct.pack(f"<{len(words)}H", *words)


def encode_es(events: Events) -> bytes:
    out = bytearray(b"Event Stream\x02\x00\x00\x01" + struct.pack("<HH", *events.sensor_size))
    now = 0
    for t, x, y, p in zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True):
        while t - now >= 127:
            out.append(0xFF)
            now += 127
        out += struct.pack("<BHH", (t - now) << 1 | p, x, y)
        now = t
    return bytes(out)


def encode_bin(events: Events) -> bytes:
    """Five bytes an event; every 2^13 us an overflow row with y = 240 follows the format's odd clock."""
    out = bytearray()
    for t, x, y, p in zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True):
        out += bytes([x, y, p << 7 | t >> 16 & 127, t >> 8 & 255, t & 255])
    return bytes(out)


@pytest.fixture
def recipes() -> SimpleNamespace:
    """The makers above: tests cannot import this file."""
    makers = (make_events, encode_evt2, encode_evt3, encode_es, encode_bin)
    return SimpleNamespace(**{each.__name__: each for each in makers})


@pytest.fixture
def events() -> Events:
    return make_events()


@pytest.fixture
def recordings(tmp_path: Path) -> Callable[[Events], dict[str, Path]]:
    """The same events in every format that can be written here."""

    def write(events: Events) -> dict[str, Path]:
        paths = {}
        for name, encode in (("evt2", encode_evt2), ("evt3", encode_evt3), ("es", encode_es), ("bin", encode_bin)):
            suffix = {"evt2": "2.raw", "evt3": "3.raw"}.get(name, name)
            paths[name] = tmp_path / f"a.{suffix}"
            paths[name].write_bytes(encode(events))
        paths["dat"], paths["npz"] = tmp_path / "a.dat", tmp_path / "a.npz"
        write_dat(paths["dat"], events)
        write_npz(paths["npz"], events)
        paths["npy"] = tmp_path / "a.npy"
        np.save(paths["npy"], events.to_structured())
        paths["csv"] = tmp_path / "a.csv"
        lines = [f"{t},{x},{y},{p}" for t, x, y, p in events.to_structured().tolist()]
        paths["csv"].write_text("t,x,y,p\n" + "\n".join(lines) + "\n")
        try:
            import h5py
        except ImportError:
            return paths
        paths["hdf5"] = tmp_path / "a.h5"
        with h5py.File(paths["hdf5"], "w") as file:
            group = file.create_group("events")
            for key in "txyp":
                group.create_dataset(key, data=getattr(events, key), chunks=(64,), maxshape=(None,), compression="gzip")
            group["width"], group["height"] = events.sensor_size
        return paths

    return write
