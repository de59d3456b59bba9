"""Write synthetic recordings in the layout of DVS-SLR, to try its loader without the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slr_cma._files import atomic_write
from slr_cma.data.events import Events, Recording
from slr_cma.data.splits import LABELS, Key
from slr_cma.synth.render import PRIMITIVES, primitive_path

__all__ = ["synthetic_recording", "write_layout"]


def synthetic_recording(
    key: Key, *, seconds: float = 6.0, rate: float = 20_000.0, size: tuple[int, int] = (260, 346), seed: int = 0
) -> Recording:
    """A disk that draws one primitive per second, in events and colour frames at 20 fps.

    Args: rate: events a second. size: (H, W). The label picks the order of the primitives, the light its brightness,
        the position its scale. The clock starts at a large epoch, as that of a real camera does.
    """
    rng = np.random.default_rng([10, seed, *key.stem.encode()])
    label = LABELS.index(key.label)
    names = list(PRIMITIVES)
    scale = (0.32 if key.position == "front" else 0.18) * min(size)
    light = {"brightLED": 1.0, "dimLED": 0.35}.get(key.light, 0.7)
    radius = 0.25 * scale

    def at(t: np.ndarray) -> np.ndarray:
        out = np.zeros((len(t), 2))
        for step in range(int(np.ceil(seconds)) + 1):
            inside = (t >= step) & (t < step + 1)
            name = names[(label // len(names) ** (step % 2) + step) % len(names)]
            out[inside] = primitive_path(name, (t[inside] - step).astype(np.float32))
        return np.array([size[1] / 2, size[0] / 2]) + scale * out

    epoch = 1_700_000_000_000_000_000
    n = max(1, int(rng.poisson(rate * seconds)))
    t = np.sort(rng.uniform(0, seconds, n))
    place, ahead = at(t), at(np.minimum(t + 0.01, seconds))
    angle = rng.uniform(0, 2 * np.pi, n)
    rim = np.stack([np.cos(angle), np.sin(angle)], 1)
    where = place + radius * rim + rng.normal(0, 0.7, (n, 2))
    x = np.clip(np.rint(where[:, 0]), 0, size[1] - 1).astype(np.uint16)
    y = np.clip(np.rint(where[:, 1]), 0, size[0] - 1).astype(np.uint16)
    p = (((ahead - place) * rim).sum(1) > 0).astype(np.uint8)
    stamps = epoch + (t * 1e9).astype(np.int64)
    frame_times = np.arange(-0.05, seconds + 0.05, 0.05)
    row, column = np.mgrid[: size[0], : size[1]]
    images = np.empty((len(frame_times), *size, 3), np.uint8)
    for i, centre in enumerate(at(np.clip(frame_times, 0, seconds))):
        disk = (column - centre[0]) ** 2 + (row - centre[1]) ** 2 < radius**2
        grey = 255 * light * np.where(disk, 0.9, 0.2) + rng.normal(0, 2, size)
        images[i] = np.clip(grey[..., None] * np.array([1.0, 0.9, 0.8]), 0, 255)
    times = epoch + (frame_times * 1e9).astype(np.int64)
    return Recording(Events.from_arrays(stamps, x, y, p, size=size), times, images)


def write_layout(
    root: Path | str,
    keys: Sequence[Key],
    *,
    seconds: float = 6.0,
    rate: float = 20_000.0,
    size: tuple[int, int] = (260, 346),
    seed: int = 0,
    flat: bool = False,
    pickled: bool = True,
) -> None:
    """Write :func:`synthetic_recording` of each key under ``root``, in DVS-SLR's file layout.

    Args: flat: all files in ``root`` itself. pickled: frame times as an object array, as the real files have them.
    """
    for key in keys:
        recording = synthetic_recording(key, seconds=seconds, rate=rate, size=size, seed=seed)
        e = recording.events
        times = np.array([int(t) for t in recording.times], dtype=object) if pickled else recording.times
        for kind, arrays in (
            ("event", {"t": e.t, "x": e.x, "y": e.y, "p": e.p}),
            ("frame", {"t": times, "imgs": recording.images}),
        ):
            name = f"{key.stem}_{kind}"
            folder = Path(root) if flat else Path(root) / key.user / key.label / name
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(folder / f"{name}.npz", "wb") as file:
                np.savez(file, **arrays)
