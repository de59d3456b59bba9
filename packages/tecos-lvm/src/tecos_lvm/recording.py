"""Recordings (event times) and spike datasets (bins): what every loader returns and every model reads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tecos_lvm._checks import Array, Floats, binary, finite_stimulus, positive, spike_times

__all__ = ["Recording", "SpikeDataset", "as_dataset", "from_arrays"]

MULTI_SPIKE_LIMIT = 0.05


@dataclass(frozen=True)
class SpikeDataset:
    """Binned spikes of a population, with the stimulus of each bin where there is one.

    Args:
        spikes: zeros and ones, [R, T, N]: repeated trials of one stimulus, bins, neurons.
        dt_ms: width of a bin in milliseconds.
        stimulus: [T, ...], the stimulus of each bin; or None.
        neuron_ids: N names; default 0 ... N-1.
        meta: whatever should travel along.
    Raises:
        ValueError: counts instead of spikes, nan in the stimulus, lengths that differ, dt_ms <= 0.
    """

    spikes: npt.NDArray[np.uint8]
    dt_ms: float
    stimulus: Array | None = None
    neuron_ids: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spikes = binary(self.spikes)
        if spikes.ndim == 2:
            spikes = spikes[None]
        if spikes.ndim != 3:
            raise ValueError(f"spikes have shape {spikes.shape}; expected [trials, bins, neurons]")
        object.__setattr__(self, "spikes", spikes)
        object.__setattr__(self, "dt_ms", positive("dt_ms", self.dt_ms, unit=", the bin's width in milliseconds"))
        if self.stimulus is not None:
            stimulus = finite_stimulus(self.stimulus)
            if len(stimulus) != spikes.shape[1]:
                raise ValueError(
                    f"the stimulus has {len(stimulus)} frames but the spikes {spikes.shape[1]} bins; give one frame "
                    "per bin (Recording.bin does that from frame times)"
                )
            object.__setattr__(self, "stimulus", stimulus)
        ids = tuple(str(i) for i in self.neuron_ids) or tuple(str(i) for i in range(spikes.shape[2]))
        if len(ids) != spikes.shape[2]:
            raise ValueError(f"{len(ids)} neuron_ids given for {spikes.shape[2]} neurons")
        object.__setattr__(self, "neuron_ids", ids)

    @property
    def n_trials(self) -> int:
        return int(self.spikes.shape[0])

    @property
    def n_bins(self) -> int:
        return int(self.spikes.shape[1])

    @property
    def n_neurons(self) -> int:
        return int(self.spikes.shape[2])

    @property
    def psth(self) -> Floats:
        """Share of trials with a spike, [T, N]."""
        return self.spikes.mean(axis=0, dtype=np.float64)  # type: ignore[no-any-return]

    @property
    def silent(self) -> tuple[str, ...]:
        """Ids of neurons without any spike; they stay in, and their metrics are nan."""
        return tuple(self.neuron_ids[i] for i in np.flatnonzero(self.spikes.sum(axis=(0, 1), dtype=np.int64) == 0))

    def trials(self, index: Any) -> SpikeDataset:
        """Some of the trials, by slice, list or mask."""
        chosen = self.spikes[index]
        return replace(self, spikes=chosen if chosen.ndim == 3 else chosen[None])

    def time(self, start: int, stop: int) -> SpikeDataset:
        """The bins from ``start`` up to ``stop``."""
        if not 0 <= start < stop <= self.n_bins:
            raise ValueError(f"bins {start} to {stop} asked of a dataset of {self.n_bins} bins")
        cut = None if self.stimulus is None else self.stimulus[start:stop]
        return replace(self, spikes=self.spikes[:, start:stop], stimulus=cut)

    def interleave(self, parts: int = 2) -> tuple[SpikeDataset, ...]:
        """Trials dealt out in turn: 0, parts, 2 parts, ... to the first. Slow drift then touches every part alike."""
        if not 2 <= parts <= self.n_trials:
            raise ValueError(
                f"{self.n_trials} trial(s) cannot be dealt to {parts} parts; use 2 to the number of trials"
            )
        return tuple(self.trials(slice(part, None, parts)) for part in range(parts))

    def segments(self, *shares: float) -> tuple[SpikeDataset, ...]:
        """Consecutive pieces of time, in the proportion of ``shares``: for generalisation to new stimuli."""
        if not shares or min(shares) <= 0:
            raise ValueError(f"shares {shares} given; they must be > 0, for example segments(0.7, 0.1, 0.2)")
        ends = np.round(np.cumsum(shares) / np.sum(shares) * self.n_bins).astype(int)
        starts = [0, *ends[:-1]]
        return tuple(self.time(int(a), int(b)) for a, b in zip(starts, ends, strict=True))

    def event_times(self) -> list[list[Floats]]:
        """Bin centres of the spikes in ms, [neuron][trial]."""
        centres = (np.arange(self.n_bins) + 0.5) * self.dt_ms
        return [[centres[self.spikes[r, :, n] > 0] for r in range(self.n_trials)] for n in range(self.n_neurons)]  # type: ignore[misc]


@dataclass(frozen=True)
class Recording:
    """Event times of a population over repeated trials, and the stimulus if it is known.

    Args:
        spike_times: ``spike_times[neuron][trial]``, sorted times in milliseconds after the trial's onset.
        duration_ms: length of a trial.
        stimulus: frames [F, ...]; frame_times_ms: when each appears, [F], ascending; it stays until the next.
        neuron_ids: names; default 0 ... N-1.
        meta: whatever should travel along (``stimulus_id`` and such).
    Raises:
        ValueError: unsorted, negative, non-finite or out-of-window times; ragged trials; nan frames.
    """

    spike_times: list[list[Floats]]
    duration_ms: float
    stimulus: Array | None = None
    frame_times_ms: Floats | None = None
    neuron_ids: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positive("duration_ms", self.duration_ms, unit=", the length of a trial in milliseconds")
        trains = [
            [spike_times(train, f"neuron {n}, trial {r}", self.duration_ms) for r, train in enumerate(trials)]
            for n, trials in enumerate(self.spike_times)
        ]
        counts = {len(trials) for trials in trains}
        if not trains or counts == {0}:
            raise ValueError("the recording has no neuron with a trial; expected spike_times[neuron][trial]")
        if len(counts) != 1:
            raise ValueError(f"neurons have {min(counts)} to {max(counts)} trials; each needs the same number")
        object.__setattr__(self, "spike_times", trains)
        ids = tuple(str(i) for i in self.neuron_ids) or tuple(str(i) for i in range(len(trains)))
        if len(ids) != len(trains):
            raise ValueError(f"{len(ids)} neuron_ids given for {len(trains)} neurons")
        object.__setattr__(self, "neuron_ids", ids)
        if self.stimulus is not None:
            frames = finite_stimulus(self.stimulus)
            if self.frame_times_ms is None:
                raise ValueError(f"{len(frames)} frames given without frame_times_ms, the time at which each appears")
            times = np.asarray(self.frame_times_ms, dtype=np.float64)
            if times.shape != (len(frames),):
                raise ValueError(
                    f"frame_times_ms has shape {times.shape}; expected one time for each of {len(frames)} frames"
                )
            if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
                raise ValueError("frame_times_ms must be finite and ascending")
            object.__setattr__(self, "stimulus", frames)
            object.__setattr__(self, "frame_times_ms", times)

    @property
    def n_neurons(self) -> int:
        return len(self.spike_times)

    @property
    def n_trials(self) -> int:
        return len(self.spike_times[0])

    @property
    def n_spikes(self) -> int:
        return sum(len(train) for trials in self.spike_times for train in trials)

    @property
    def rate_hz(self) -> float:
        """Mean rate over neurons and trials."""
        return self.n_spikes / (self.n_neurons * self.n_trials * self.duration_ms / 1000)

    def counts(self, dt_ms: float) -> npt.NDArray[np.int64]:
        """Spikes per bin, [R, T, N]; bin t holds times in [t dt, (t+1) dt), the last one its end too."""
        dt_ms = positive("dt_ms", dt_ms, unit=", the bin's width in milliseconds")
        n_bins = max(1, int(np.floor(self.duration_ms / dt_ms + 1e-9)))
        out = np.zeros((self.n_trials, n_bins, self.n_neurons), dtype=np.int64)
        for n, trials in enumerate(self.spike_times):
            for r, train in enumerate(trials):
                place = np.floor(train / dt_ms + 1e-9).astype(np.int64)
                place[train >= n_bins * dt_ms - 1e-9] = (
                    n_bins if self.duration_ms > n_bins * dt_ms + 1e-6 else n_bins - 1
                )
                np.add.at(out[r, :, n], place[place < n_bins], 1)
        return out

    def bin(self, dt_ms: float) -> SpikeDataset:
        """Spikes in bins of ``dt_ms``, and for each bin the frame that was shown when it began.

        Warns:
            UserWarning: more than 5 % of the occupied bins hold several spikes, of which one is kept.
        """
        counts = self.counts(dt_ms)
        occupied = int((counts > 0).sum())
        share = float((counts > 1).sum()) / occupied if occupied else 0.0
        if share > MULTI_SPIKE_LIMIT:
            warnings.warn(
                f"{100 * share:.1f} % of the occupied bins of {dt_ms:g} ms hold several spikes, of which one is kept; "
                "a spiking model wants a shorter bin (5 ms or less)",
                UserWarning,
                stacklevel=2,
            )
        stimulus = None
        if self.stimulus is not None and self.frame_times_ms is not None:
            starts = np.arange(counts.shape[1]) * dt_ms
            frame = np.searchsorted(self.frame_times_ms, starts + 1e-6, side="right") - 1
            if frame.min() < 0:
                raise ValueError(
                    f"the first frame appears at {self.frame_times_ms[0]:g} ms, after the first bin; cut the spikes or "
                    "give a frame from time 0"
                )
            stimulus = self.stimulus[frame]
        meta = {**self.meta, "multi_spike_share": share}
        return SpikeDataset((counts > 0).astype(np.uint8), dt_ms, stimulus, self.neuron_ids, meta)

    def split(self, parts: int = 2) -> tuple[Recording, ...]:
        """Trials dealt out in turn, as :meth:`SpikeDataset.interleave` does."""
        if not 2 <= parts <= self.n_trials:
            raise ValueError(
                f"{self.n_trials} trial(s) cannot be dealt to {parts} parts; use 2 to the number of trials"
            )
        return tuple(self.select(trials=range(part, self.n_trials, parts)) for part in range(parts))

    def select(self, *, neurons: Sequence[int] | None = None, trials: Sequence[int] | None = None) -> Recording:
        """Some of the neurons and trials, by position."""
        n_index = range(self.n_neurons) if neurons is None else neurons
        r_index = range(self.n_trials) if trials is None else trials
        trains = [[self.spike_times[n][r] for r in r_index] for n in n_index]
        return replace(self, spike_times=trains, neuron_ids=tuple(self.neuron_ids[n] for n in n_index))


def from_arrays(
    *,
    dt_ms: float,
    spikes: Any = None,
    spike_times: Any = None,
    duration_ms: float | None = None,
    stimulus: Any = None,
    frame_times_ms: Any = None,
    neuron_ids: Sequence[str] = (),
    binarize: bool = False,
) -> SpikeDataset:
    """A dataset from your own arrays: binned ``spikes`` [R, T, N] (or [T, N]), or ``spike_times[neuron][trial]`` in ms.

    Args:
        dt_ms: width of a bin.
        spikes: zeros and ones; counts need ``binarize=True``, which keeps one spike per bin.
        spike_times: event times instead; then ``duration_ms`` is needed.
        stimulus: one frame per bin with ``spikes``; frames at ``frame_times_ms`` with ``spike_times``.
        neuron_ids: names of the neurons; numbers by default.
    Raises:
        ValueError: both or none of the two forms, counts without ``binarize``, and all that Recording refuses.
    """
    if (spikes is None) == (spike_times is None):
        raise ValueError("give either spikes (bins of 0 and 1) or spike_times (event times in ms)")
    if spikes is not None:
        found = np.asarray(spikes)
        if binarize:
            if found.size and (not np.isfinite(found).all() or found.min() < 0):
                raise ValueError("spikes hold nan or negative counts; counts are 0, 1, 2, ...")
            found = (found > 0).astype(np.uint8)
        return SpikeDataset(found, dt_ms, stimulus, tuple(neuron_ids))
    if duration_ms is None:
        raise ValueError("spike_times were given without duration_ms, the length of a trial")
    recording = Recording(
        [list(trials) for trials in spike_times], duration_ms, stimulus, frame_times_ms, tuple(neuron_ids)
    )
    return recording.bin(dt_ms)


def as_dataset(x: Any, y: Any, dt_ms: float) -> SpikeDataset:
    """What an estimator was given: a dataset alone, or a stimulus [T, ...] and its spikes [T, N] or [R, T, N]."""
    if isinstance(x, SpikeDataset):
        if y is not None:
            raise ValueError("y was given besides a SpikeDataset, which holds its spikes; pass one of the two forms")
        return x
    if y is None:
        raise ValueError("a stimulus was given without spikes; pass fit(x, y), or one SpikeDataset")
    return SpikeDataset(y, dt_ms, x)
