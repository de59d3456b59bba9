"""Draw moving disks, and turn brightness into events: the physics of the generators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["PRIMITIVES", "brightness", "emit_events", "primitive_path"]

Array = NDArray[np.float32]

#: closed loops of u in [0, 1]: each starts and ends at the rest pose (0, 0); columns x, y
PRIMITIVES: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "horizontal": lambda u: (np.sin(2 * np.pi * u), 0 * u),
    "vertical": lambda u: (0 * u, np.sin(2 * np.pi * u)),
    "circle": lambda u: (0.8 * np.sin(2 * np.pi * u), 0.8 * (1 - np.cos(2 * np.pi * u))),
    "diagonal": lambda u: (0.7 * np.sin(2 * np.pi * u), 0.7 * np.sin(2 * np.pi * u)),
    "eight": lambda u: (np.sin(2 * np.pi * u), 0.6 * np.sin(4 * np.pi * u)),
    "zigzag": lambda u: (np.sin(2 * np.pi * u), 0.5 * np.sin(6 * np.pi * u)),
}

#: brightness of the background, and what a mark of intensity 1 adds to it
DARK, BRIGHT = 0.3, 0.7


def primitive_path(name: str, u: Array) -> Array:
    """Positions of a primitive at phases u: [..., 2] (x, y), unit amplitude.

    Raises:
        ValueError: unknown name.
    """
    if name not in PRIMITIVES:
        raise ValueError(f"primitive {name!r} is not known; choose some of {', '.join(PRIMITIVES)}")
    x, y = PRIMITIVES[name](u)
    return np.stack([x, y], -1).astype(np.float32)


def soft_disk(centre: Array, size: int, radius: float) -> Array:
    """Gaussian marks at ``centre`` [..., 2] (x, y in pixels): [..., size, size], 1 at the centre."""
    axis = np.arange(size, dtype=np.float32)
    scale = np.float32(-0.5 / radius**2)
    # a Gaussian is a product of its two sides: two small exponentials instead of one over the map
    across = np.exp(scale * (axis - centre[..., 0, None]) ** 2)
    down = np.exp(scale * (axis - centre[..., 1, None]) ** 2)
    out: Array = down[..., :, None] * across[..., None, :]
    return out


def brightness(marks: Array, contrast: float) -> Array:
    """Scene brightness of marks with intensity in [0, 1]: 0.3 + 0.7 contrast I."""
    out: Array = DARK + np.float32(BRIGHT * contrast) * np.minimum(marks, 1.0)
    return out


def emit_events(
    light: Array, threshold: float, start: Array | None = None
) -> tuple[NDArray[np.int16], NDArray[np.int16], Array]:
    """Events of a log-brightness camera.

    At each step n = trunc((L - ref) / threshold) events leave a pixel and ref moves by n threshold, L = log(light).

    Args:
        light: brightness [S + 1, ...] > 0; the first entry sets the reference unless ``start`` is given.
        threshold: contrast threshold, > 0. start: reference log-brightness [...] carried from before.
    Returns:
        OFF and ON counts [S, ...] of the S steps, and the reference after the last one.
    """
    level = np.log(light)
    reference = level[0].copy() if start is None else start.copy()
    off = np.zeros((len(level) - 1, *level.shape[1:]), np.int16)
    on = np.zeros_like(off)
    for step in range(1, len(level)):
        count = np.trunc((level[step] - reference) / np.float32(threshold))
        reference += count * np.float32(threshold)
        on[step - 1] = np.maximum(count, 0)
        off[step - 1] = np.maximum(-count, 0)
    return off, on, reference
