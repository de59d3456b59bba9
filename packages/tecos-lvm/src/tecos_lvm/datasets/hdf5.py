"""HDF5 recordings: NWB (units, images, trials) and the layout of Zheng et al. 2021. Needs h5py, nothing heavier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tecos_lvm._checks import Array, positive
from tecos_lvm.recording import Recording, SpikeDataset

__all__ = ["load_nwb", "load_zheng_hdf5"]


@contextmanager
def _open(path: str | Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError:
        raise ImportError("reading HDF5 needs h5py: pip install 'tecos-lvm[nwb]'") from None
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file")
    try:
        file = h5py.File(path, "r")
    except OSError as problem:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) cannot be opened as HDF5: {problem}; truncated, or another format?"
        ) from None
    try:
        yield file
    except (OSError, RuntimeError, KeyError, TypeError) as problem:
        raise ValueError(f"{path} is damaged or laid out otherwise: {problem}") from None
    finally:
        file.close()


def _need(group: Any, name: str, path: str | Path, why: str) -> Any:
    if name not in group:
        raise ValueError(
            f"{path} has no {group.name.rstrip('/')}/{name}; {why}. There: {', '.join(group) or 'nothing'}"
        )
    return group[name]


def load_nwb(
    path: str | Path,
    *,
    stimulus: str | None = None,
    trials: str | None = "trials",
    duration_ms: float | None = None,
) -> Recording:
    """Units, repeats and one stimulus of an NWB file (times in seconds there, milliseconds here).

    Args:
        path: the file.
        stimulus: name of a series in ``stimulus/presentation`` (ImageSeries, OpticalSeries, TimeSeries, IndexSeries);
            its frames of the first trial are taken as those of every trial. None: no stimulus.
        trials: name of a table of ``intervals`` whose rows are repeats of one stimulus; None: the whole session is
            one trial.
        duration_ms: length of a trial; default the shortest interval, or the last spike.
    Raises:
        ValueError: truncated, not NWB, index out of range, frames stored in external files.
    """
    with _open(path) as file:
        units = _need(file, "units", path, "an NWB file with sorted spikes has units")
        times = np.asarray(_need(units, "spike_times", path, "units need spike times")[()], dtype=np.float64)
        ends = np.asarray(_need(units, "spike_times_index", path, "units need it")[()], dtype=np.int64)
        if ends.size == 0 or (np.diff(ends) < 0).any() or ends[0] < 0 or ends[-1] > len(times):
            raise ValueError(f"{path}: spike_times_index does not fit {len(times)} spike times; the file is damaged")
        ids = [str(i) for i in units["id"][()]] if "id" in units else []
        starts, stops = _intervals(file, trials, path, times)
        window = float((stops - starts).min()) * 1000 if duration_ms is None else duration_ms
        window = positive("duration_ms", window, unit=", the length of a trial")
        trains = []
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            unit = np.sort(times[begin:end])
            shifted = [(unit - start) * 1000 for start in starts]
            trains.append([t[(t >= 0) & (t < window)] for t in shifted])
        frames, when = _frames(file, stimulus, path) if stimulus is not None else (None, None)
    if frames is not None and when is not None:
        local = (when - starts[0]) * 1000
        # the frame already on the screen when the trial begins counts from its beginning
        keep = (local < window) & (np.append(local[1:], np.inf) > 0)
        if not keep.any():
            raise ValueError(f"{path}: no frame of {stimulus} falls into the first trial")
        frames, when = frames[keep], np.maximum(local[keep], 0.0)
    return Recording(trains, window, frames, when, tuple(ids), {"file": Path(path).name, "stimulus_id": stimulus})


def _intervals(file: Any, trials: str | None, path: str | Path, times: Array) -> tuple[Array, Array]:
    if trials is not None and "intervals" in file and trials in file["intervals"]:
        table = file["intervals"][trials]
        starts = np.asarray(_need(table, "start_time", path, "intervals need it")[()], dtype=np.float64)
        stops = np.asarray(_need(table, "stop_time", path, "intervals need it")[()], dtype=np.float64)
        if len(starts) == 0 or len(starts) != len(stops) or (stops <= starts).any():
            raise ValueError(
                f"{path}: intervals/{trials} has {len(starts)} starts and {len(stops)} stops that do not fit"
            )
        return starts, stops
    if trials not in (None, "trials"):
        raise ValueError(f"{path} has no intervals/{trials}; pass trials=None to take the session as one trial")
    last = float(times.max()) if times.size else 0.0
    return np.zeros(1), np.full(1, max(last, 1e-3) + 1e-3)


def _frames(file: Any, name: str, path: str | Path) -> tuple[Array, Array]:
    shown = _need(
        _need(file, "stimulus", path, "no stimulus was stored"), "presentation", path, "no stimulus was shown"
    )
    series = _need(shown, name, path, "choose one of its series")
    data = series["data"][()] if "data" in series else np.zeros(0)
    if "external_file" in series or data.size == 0:
        raise ValueError(f"{path}: the frames of {name} are not in the file; load them yourself and use Recording")
    if "indexed_images" in series or "indexed_timeseries" in series:
        data = _indexed(series, np.asarray(data), path)
    if "timestamps" in series:
        when = np.asarray(series["timestamps"][()], dtype=np.float64)
    else:
        start = _need(series, "starting_time", path, "a series needs timestamps or starting_time")
        rate = positive("rate", start.attrs.get("rate", 0.0), unit=", of the stimulus in Hz")
        when = float(start[()]) + np.arange(len(data)) / rate
    if len(when) != len(data):
        raise ValueError(f"{path}: {name} has {len(data)} frames and {len(when)} time stamps")
    return np.asarray(data), when


def _indexed(series: Any, index: Array, path: str | Path) -> Array:
    if "indexed_timeseries" in series:
        images = np.asarray(series["indexed_timeseries"]["data"][()])
    else:
        group = series["indexed_images"]
        if "order_of_images" in group:
            found = [group.file[reference] for reference in group["order_of_images"][()]]
        else:
            found = [group[name] for name in group]
        images = np.stack([np.asarray(image[()]) for image in found])
    if index.size and (index.min() < 0 or index.max() >= len(images)):
        raise ValueError(f"{path}: an image index of {int(index.max())} where there are {len(images)} images")
    return np.asarray(images[index.astype(np.int64)])


def load_zheng_hdf5(
    path: str | Path, *, stimulus: str = "mov3", part: str = "trn", dt_ms: float = 1000 / 30
) -> SpikeDataset:
    """One part of a file laid out as in Zheng et al. 2021: ``{stimulus}_{part}_x`` and ``_y``.

    Args:
        path: the file. stimulus: prefix of its keys. part: ``"trn"`` or ``"tst"``.
        dt_ms: bin of the responses, one per frame (30 Hz there); counts above 1 are set to 1, as the authors do.
    Returns:
        Spikes [trials, T, cells] and frames [T, H, W].
    """
    with _open(path) as file:
        x = np.asarray(_need(file, f"{stimulus}_{part}_x", path, "choose stimulus and part")[()])
        y = np.asarray(_need(file, f"{stimulus}_{part}_y", path, "the spikes are there")[()])
    if x.ndim != 3 or y.ndim != 3 or x.shape[2] != y.shape[2]:
        raise ValueError(f"{path}: frames {x.shape} and responses {y.shape}; expected [H, W, T] and [trials, cells, T]")
    if y.size and (not np.isfinite(y).all() or y.min() < 0):
        raise ValueError(f"{path}: responses hold nan or negative counts")
    return SpikeDataset(
        (y > 0).astype(np.uint8).transpose(0, 2, 1), dt_ms, x.transpose(2, 0, 1), meta={"file": Path(path).name}
    )
