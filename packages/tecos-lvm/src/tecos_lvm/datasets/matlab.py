"""The MATLAB files of Onken et al. 2016 (Dryad 10.5061/dryad.4ch10): spike times of salamander ganglion cells.

``Spikes`` is a cell array [neurons x trials] of times in ms for movies; a vector of such arrays for images. Times are
whole numbers from 1: spike k fell into the k-th millisecond, and its middle, k - 0.5 ms, is what the loaders return.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tecos_lvm._checks import Array
from tecos_lvm.recording import Recording

__all__ = ["load_onken", "load_onken_folder", "load_onken_images", "load_pillow_rgc"]

MOVIE_MS = 18_000.0


def _variable(path: str | Path, variable: str) -> Array:
    from scipy.io import loadmat

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give a .mat file (load_onken_folder reads a folder of them)")
    try:
        found = loadmat(path, variable_names=[variable])
    except Exception as problem:
        # loadmat raises whatever its parser trips over: zlib.error, TypeError, ValueError, struct.error, EOFError ...
        raise ValueError(
            f"{path} cannot be read as a MATLAB file ({type(problem).__name__}: {problem}); "
            f"it has {path.stat().st_size} bytes: truncated, or of another format?"
        ) from None
    if variable not in found:
        raise ValueError(f"{path} has no variable {variable!r}; another kind of file?")
    return np.asarray(found[variable])


def _read(path: str | Path) -> Array:
    spikes = _variable(path, "Spikes")
    if not isinstance(spikes, np.ndarray) or spikes.dtype != object or spikes.size == 0:
        raise ValueError(f"{path}: 'Spikes' is {getattr(spikes, 'dtype', type(spikes))}, expected a cell array")
    return spikes


def _trains(cells: Any, path: str | Path) -> list[list[Array]]:
    if not isinstance(cells, np.ndarray) or cells.dtype != object or cells.ndim != 2:
        raise ValueError(
            f"{path}: expected a cell array [neurons x trials], got {getattr(cells, 'shape', type(cells))}"
        )
    for index in np.ndindex(cells.shape):
        if not np.issubdtype(np.asarray(cells[index]).dtype, np.number):
            raise ValueError(f"{path}: cell {index} holds {np.asarray(cells[index]).dtype}, expected spike times")
    return [[_middle(cells[n, r]) for r in range(cells.shape[1])] for n in range(cells.shape[0])]


def _middle(times: Array) -> Array:
    return np.asarray(times, dtype=np.float64) - 0.5


def load_onken(
    path: str | Path,
    *,
    frames: str | Path | None = None,
    duration_ms: float = MOVIE_MS,
    size: int | None = 24,
    stimulus_id: str | None = None,
) -> Recording:
    """One movie recording (``Movie1Exp1.mat`` and its like).

    Args:
        path: the .mat file.
        frames: the Dryad folder ``Stimuli/Movie1`` (or Movie2) with the movie's frames; None: spikes alone.
        duration_ms: length of a trial; 18 s in these files.
        size: frames are averaged down to size x size; None keeps 360 x 360.
        stimulus_id: which movie it was. The read-me of the files contradicts their names for retina 2, so nothing
            is assumed.
    Returns:
        The recording; its frames spread evenly over ``duration_ms``.
    Raises:
        FileNotFoundError, ValueError: no such file; truncated or of another format; an image set.
    """
    spikes = _read(path)
    if isinstance(spikes.flat[0], np.ndarray) and spikes.flat[0].dtype == object:
        raise ValueError(f"{path} holds {spikes.size} stimuli, not one movie; use load_onken_images")
    meta = {"source": "doi:10.5061/dryad.4ch10", "file": Path(path).name, "stimulus_id": stimulus_id}
    stimulus: Array | None = None
    times: Array | None = None
    if frames is not None:
        from tecos_lvm.datasets.files import read_frames

        stimulus = read_frames(frames, size=size)
        times = np.arange(len(stimulus)) * (duration_ms / len(stimulus))
    return Recording(_trains(spikes, path), duration_ms, stimulus, times, meta=meta)


def load_onken_folder(folder: str | Path, *, duration_ms: float = MOVIE_MS) -> dict[str, Recording]:
    """Every movie recording of a folder, by the file's name without its ending; sets of images are left out.

    Raises:
        FileNotFoundError: no movie recording there. ValueError: a file that cannot be read.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.mat")):
        first = _read(path).flat[0]
        if isinstance(first, np.ndarray) and first.dtype == object:
            continue
        found[path.stem] = load_onken(path, duration_ms=duration_ms)
    if not found:
        raise FileNotFoundError(f"{folder} holds no movie recording (Movie1Exp1.mat and its like)")
    return found


def load_onken_images(path: str | Path, *, duration_ms: float = 1000.0) -> list[Recording]:
    """The recordings of a set of flashed stimuli (``NaturalImages1.mat``, ``Gratings.mat``, ``Shifts1.mat``).

    Args:
        path: the .mat file. duration_ms: window of a trial; it grows to the last spike where that is later.
    Returns:
        One recording per stimulus, in the file's order (shifts: shift by shift, column after column).
    """
    spikes = _read(path)
    first = spikes.flat[0]
    if not (isinstance(first, np.ndarray) and first.dtype == object):
        raise ValueError(f"{path} holds one movie recording; use load_onken")
    recordings = []
    for index, cells in enumerate(spikes.ravel(order="F")):
        trains = _trains(cells, f"{path}, stimulus {index}")
        last = max((float(t.max()) for trials in trains for t in trials if t.size), default=0.0)
        meta = {"source": "doi:10.5061/dryad.4ch10", "file": Path(path).name, "stimulus_id": str(index)}
        recordings.append(Recording(trains, max(duration_ms, last), meta=meta))
    return recordings


def load_pillow_rgc(folder: str | Path) -> Recording:
    """Four macaque parasol cells under full-field binary noise (Pillow's GLM tutorial): one trial of 20 minutes.

    The files may be used for the tutorial alone and not passed on, so none of them is part of any test here.

    Args:
        folder: holds ``Stim.mat``, ``stimtimes.mat`` and ``SpTimes.mat`` (seconds).
    Returns:
        The recording, frames [F, 1]; ``meta["frame_ms"]`` is the time of one frame.
    Raises:
        FileNotFoundError, ValueError: a file is missing, truncated, or the three do not fit.
    """
    folder = Path(folder)
    frames = np.asarray(_variable(folder / "Stim.mat", "Stim"), dtype=np.float64).reshape(-1, 1)
    times = np.asarray(_variable(folder / "stimtimes.mat", "stimtimes"), dtype=np.float64).reshape(-1) * 1000
    if len(times) != len(frames) or len(times) < 2:
        raise ValueError(
            f"{folder}: {len(frames)} frames and {len(times)} frame times; the files do not belong together"
        )
    cells = _variable(folder / "SpTimes.mat", "SpTimes").reshape(-1)
    frame = float(np.median(np.diff(times)))
    onset, duration = times[0], times[-1] - times[0] + frame
    trains = []
    for cell in cells:
        t = np.asarray(cell, dtype=np.float64).reshape(-1) * 1000 - onset
        trains.append([t[(t >= 0) & (t < duration)]])
    return Recording(trains, duration, frames, times - onset, meta={"file": folder.name, "frame_ms": frame})
