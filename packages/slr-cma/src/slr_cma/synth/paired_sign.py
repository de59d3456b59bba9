"""PairedSign: synthetic signs in events and frames whose uni-modal ceilings are known by construction."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from slr_cma._arrays import ArrayDataset
from slr_cma._sample import Sample
from slr_cma.synth import render

__all__ = ["HARD", "PairedSign", "SignWorld"]

Task = Literal["fusion", "order", "cue"]
#: raised when the same seed gives other samples than before
GENERATOR_VERSION = 1


@dataclass(frozen=True)
class SignWorld:
    """Everything that shapes the samples except their number and seed.

    Args:
        primitives: motion primitives in a sign; its class is an order of them. places: cue places A.
        bins: T, a multiple of the number of primitives. size: pixels a side; ``down`` pools them (events summed,
            frames averaged). substeps: rendering steps a bin.
        contrast: of marks over background. threshold: of the event camera, in log brightness.
        noise: background events per pixel and bin (Poisson, half of each polarity). frame_noise: its sd in frames.
        gain, warp: ranges of a segment's amplitude and of the exponent of its clock. jitter: of the rest pose, pixels.
        exposure: "whole": every frame shows the whole cycle, order-blind; "bin": a frame a bin, order visible.
        cue_in_events: the cue trembles, so that events see it too.
        leaky: one continuous simulation of unclosed loops without a fresh reference at each segment: what a naive
            generator does. Its collapsed events betray the order; kept to show that the diagnostics find it.
    """

    primitives: tuple[str, ...] = ("horizontal", "vertical", "circle")
    places: int = 3
    bins: int = 12
    size: int = 24
    down: int = 2
    substeps: int = 4
    contrast: float = 1.0
    threshold: float = 0.15
    noise: float = 0.02
    frame_noise: float = 0.02
    gain: tuple[float, float] = (0.85, 1.15)
    warp: tuple[float, float] = (0.8, 1.25)
    jitter: float = 2.0
    exposure: Literal["whole", "bin"] = "whole"
    cue_in_events: bool = False
    leaky: bool = False

    def __post_init__(self) -> None:
        if len(set(self.primitives)) != len(self.primitives) or len(self.primitives) < 2:
            raise ValueError(f"primitives={self.primitives} given; expected at least two different ones")
        for name in self.primitives:
            render.primitive_path(name, np.zeros(1, np.float32))
        if self.bins % len(self.primitives) or self.bins < len(self.primitives):
            raise ValueError(
                f"bins={self.bins} given; expected a multiple of the {len(self.primitives)} primitives, so that "
                "every segment has as many bins as the others"
            )
        if self.size % self.down or self.down < 1:
            raise ValueError(f"size={self.size} is not a multiple of down={self.down}")
        if self.exposure not in ("whole", "bin"):
            raise ValueError(f"exposure={self.exposure!r} given; expected 'whole' or 'bin'")
        if self.places < 1 or self.threshold <= 0 or self.noise < 0 or self.frame_noise < 0:
            raise ValueError("places must be >= 1, threshold > 0, noise and frame_noise >= 0")

    @property
    def orders(self) -> list[tuple[int, ...]]:
        """All orders of the primitives; an order's index is its class in the task "order"."""
        return list(itertools.permutations(range(len(self.primitives))))

    @property
    def fingerprint(self) -> str:
        """Generator version and a hash of every setting, for results."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"v{GENERATOR_VERSION}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


#: the hard, redundant setting: both modalities see both factors, weakly (24 classes, T = 9)
HARD = SignWorld(
    places=4, bins=9, contrast=0.5, threshold=0.42, noise=0.09, frame_noise=0.085, jitter=3.0, warp=(0.75, 1.33),
    exposure="bin", cue_in_events=True,
)  # fmt: skip


class PairedSign(Dataset[Sample]):
    """Signs with two hidden factors: the order of motion primitives, and the place of a bright cue.

    With the default world events carry nothing about the cue (it never moves) and frames nothing about the order
    (each shows the whole cycle). A segment's loop is closed and its camera reference is fresh, so its events are
    drawn independently of its position: a time-collapsed, order-free or shuffled view carries nothing about the
    order either. These are the provable ceilings of :attr:`ceilings`.

    Args:
        n: samples, classes balanced. task: "fusion" (order and cue), "order" or "cue".
        K: number of motion primitives, A: of cue places, T: of bins, for short; seed: of everything drawn.
        world: the settings; further keywords replace single ones.
    Attributes:
        events [n, T, 2, h, w] uint8, frames [n, T, 1, h, w] float32, labels, orders, cues [n] int64.
    Example:
        >>> data = PairedSign(36, seed=1)
        >>> data.events.shape, data.n_classes, round(data.ceilings["events"], 3)
        ((36, 12, 2, 12, 12), 18, 0.333)
    Source: our own design.
    """

    def __init__(
        self,
        n: int,
        task: Task = "fusion",
        K: int | None = None,
        A: int | None = None,
        T: int | None = None,
        *,
        world: SignWorld | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        if n < 1:
            raise ValueError(f"n={n} given; expected at least one sample")
        if task not in ("fusion", "order", "cue"):
            raise ValueError(f"task={task!r} given; expected 'fusion', 'order' or 'cue'")
        if K is not None:
            if not 2 <= K <= len(render.PRIMITIVES):
                raise ValueError(f"K={K} given; expected 2 to {len(render.PRIMITIVES)} primitives")
            settings["primitives"] = tuple(render.PRIMITIVES)[:K]
        settings |= {name: value for name, value in (("places", A), ("bins", T)) if value is not None}
        self.world = replace(world or SignWorld(), **settings)
        self.task: Task = task
        self.seed = seed
        rng = np.random.default_rng([GENERATOR_VERSION, seed])
        n_orders, places = len(self.world.orders), self.world.places
        pairs = rng.permutation(np.arange(n) % (n_orders * places))
        self.orders: NDArray[np.int64] = pairs // places
        self.cues: NDArray[np.int64] = pairs % places
        self.labels = {"fusion": pairs, "order": self.orders, "cue": self.cues}[task]
        chunks = [self._draw(rng, slice(at, at + 128)) for at in range(0, n, 128)]
        self.events: NDArray[np.uint8] = np.concatenate([events for events, _ in chunks])
        self.frames: NDArray[np.float32] = np.concatenate([frames for _, frames in chunks])

    @property
    def n_classes(self) -> int:
        """Classes of the task."""
        n_orders, places = len(self.world.orders), self.world.places
        return {"fusion": n_orders * places, "order": n_orders, "cue": places}[self.task]

    @property
    def ceilings(self) -> dict[str, float]:
        """Best accuracy any classifier can reach: from events, frames, both, and without order ("collapsed").

        Without noise to blur them; 1 means that nothing is hidden from that view.
        """
        n_orders, places = math.factorial(len(self.world.primitives)), self.world.places
        order = self.task in ("fusion", "order")
        cue = self.task in ("fusion", "cue")
        blind_order, blind_cue = (1 / n_orders if order else 1.0), (1 / places if cue else 1.0)
        events = 1.0 if self.world.cue_in_events else blind_cue
        frames = 1.0 if self.world.exposure == "bin" else blind_order
        return {
            "events": events, "frames": frames, "both": 1.0, "collapsed": blind_order,
            "collapsed events": blind_order * events, "chance": blind_order * blind_cue,
        }  # fmt: skip

    def arrays(self, **options: Any) -> ArrayDataset:
        """The samples as an :class:`ArrayDataset`; keywords go to it."""
        return ArrayDataset(self.events, self.frames, self.labels, **options)

    def _draw(self, rng: np.random.Generator, part: slice) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        world = self.world
        orders = np.asarray(world.orders)[self.orders[part]]  # [n, K]
        n, k = orders.shape
        bins, steps = world.bins // k, world.bins // k * world.substeps
        gain = rng.uniform(*world.gain, (n, k)).astype(np.float32)
        warp = rng.uniform(*world.warp, (n, k)).astype(np.float32)
        rest = world.size * 0.5 - 0.5 + rng.uniform(-world.jitter, world.jitter, (n, 1, 1, 2)).astype(np.float32)
        u = np.linspace(0, 1, steps + 1, dtype=np.float32)
        if world.leaky:
            u = u * np.float32(0.8)  # the loop stays open: where it ends is where the next one starts
        phase = u[None, None] ** warp[..., None]  # [n, K, S + 1]
        paths = np.stack([render.primitive_path(name, phase) for name in world.primitives])
        path = np.take_along_axis(paths, orders[None, :, :, None, None], 0)[0] * gain[..., None, None]
        if world.leaky:
            start = np.cumsum(path[:, :, -1], 1) - path[:, :, -1]
            path = path + 0.5 * start[:, :, None]
        marks = render.soft_disk(rest + 0.22 * world.size * path, world.size, 0.09 * world.size)
        angle = 2 * np.pi * (self.cues[part] + 0.5) / world.places
        centre = world.size * (0.5 + 0.42 * np.stack([np.cos(angle), np.sin(angle)], -1)) - 0.5
        at = centre.astype(np.float32)[:, None, None]
        if world.cue_in_events:
            tremble = rng.uniform(-1, 1, (n, k, steps + 1, 2)).astype(np.float32)
            cue = render.soft_disk(at + tremble, world.size, 0.07 * world.size)
            seen = marks + cue
        else:
            cue = render.soft_disk(at, world.size, 0.07 * world.size)
            seen = marks
        events = self._events(rng, seen, bins)
        light = render.brightness(marks + cue, world.contrast)[:, :, 1:]
        if world.exposure == "whole":
            still = np.broadcast_to(light.mean((1, 2))[:, None], (n, world.bins, world.size, world.size))
        else:
            still = light.reshape(n, world.bins, world.substeps, world.size, world.size).mean(2)
        frames = still + rng.normal(0, world.frame_noise, still.shape).astype(np.float32)
        return events, (self._pool(frames[:, :, None]) / world.down**2).astype(np.float32)

    def _events(self, rng: np.random.Generator, marks: render.Array, bins: int) -> NDArray[np.uint8]:
        world = self.world
        k = marks.shape[1]
        light = render.brightness(marks, world.contrast)
        reference: render.Array | None = None
        parts = []
        for segment in range(k):
            # a fresh reference at each segment makes its events independent of where in the sign it stands
            start = reference if world.leaky else None
            off, on, reference = render.emit_events(light[:, segment].swapaxes(0, 1), world.threshold, start)
            counts = np.stack([off, on], 2)  # [S, n, 2, H, W]
            parts.append(counts.reshape(bins, world.substeps, *counts.shape[1:]).sum(1))
        events = np.concatenate(parts).swapaxes(0, 1)
        events = events + rng.poisson(world.noise / 2, events.shape)
        pooled: NDArray[np.uint8] = np.minimum(self._pool(events), 255).astype(np.uint8)
        return pooled

    def _pool(self, x: NDArray[Any]) -> NDArray[Any]:
        d = self.world.down
        out: NDArray[Any] = x.reshape(*x.shape[:-2], x.shape[-2] // d, d, x.shape[-1] // d, d).sum((-3, -1))
        return out

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return Sample(
            torch.from_numpy(self.events[index]).float(),
            torch.from_numpy(self.frames[index]),
            torch.ones(self.world.bins, dtype=torch.bool),
            int(self.labels[index]),
            {"order": int(self.orders[index]), "cue": int(self.cues[index])},
        )
