"""N-MNIST and N-Caltech101 .bin, npy, npz, csv, HDF5: read into arrays, or mapped."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from eas_det.errors import DecodeError
from eas_det.events import _ALIASES as ALIASES
from eas_det.events import check_size

from ._source import ArraySource, Defects, outputs

_NPZ_VERSION = 1


def read_bin(path: Path, size: tuple[int, int] | None, defects: Defects, keep: bool) -> ArraySource:
    """N-MNIST and N-Caltech101: rows of 5 bytes, nothing else. The sensor is 34x34 if all fits, else 240x180."""
    from eas_det._kernels import decode

    content = np.fromfile(path, np.uint8)
    if content.size % 5:
        defects.report(content.size // 5 * 5, f"{content.size % 5} bytes are left after the last whole event of 5")
    arrays = outputs(content.size // 5)
    status, n, row = decode.ncaltech(content, keep, *arrays)
    if status:
        reason = f"row {content[5 * row + 1]}; no event of these sensors has y > 240"
        if status == decode.TIME:
            reason = "time decreases; pass repair='sort' or repair='cummax'"
        defects.report(5 * row, reason)
    t, x, y, p = (each[:n] for each in arrays)
    if size is None and n:
        if max(x.max(), y.max()) < 34:
            size = (34, 34)
        elif x.max() < 240 and y.max() < 180:
            size = (240, 180)
    return ArraySource("bin", (t, x, y, p), size, defects)


def read_npy(path: Path, size: tuple[int, int] | None, defects: Defects, columns: str, unit: str) -> ArraySource:
    """Records with named fields, or a table of four columns; records are mapped, not read."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged file makes the library raise almost anything
        raise DecodeError(path, 0, f"not a readable .npy ({error})") from None
    start = int(getattr(array, "offset", 0))
    fields = _fields(path, array, columns)
    t = _microseconds(path, fields[0], unit)
    return ArraySource("npy", (t, *fields[1:]), size, defects, (array.dtype.itemsize, start))


def read_npz(path: Path, size: tuple[int, int] | None, defects: Defects, columns: str, unit: str) -> ArraySource:
    """Arrays t, x, y, p (as written by write_npz), or one array of records or columns."""
    try:
        # opened here: numpy leaves the file open when it finds no archive in it
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = list(archive.files)
            content = {name: archive[name] for name in names}
    except Exception as error:
        raise DecodeError(path, None, f"not a readable .npz ({error})") from None
    if "eas_det_version" in content:
        version = content["eas_det_version"]
        if version.shape != () or version.dtype.kind not in "iu" or int(version) > _NPZ_VERSION:
            raise DecodeError(path, None, f"written as version {version}; this package reads up to {_NPZ_VERSION}")
    if size is None and "sensor_size" in content:
        try:
            width, height = (int(each) for each in content["sensor_size"].ravel())
            size = check_size((width, height)) if width or height else None
        except Exception as error:
            raise DecodeError(path, None, f"sensor_size is not (width, height): {error}") from None
    picked = [next((content[name] for name in ALIASES[key] if name in content), None) for key in "txyp"]
    if any(each is None for each in picked):
        tables = [each for each in content.values() if each.dtype.names is not None or each.ndim == 2]
        if len(tables) != 1:
            raise DecodeError(path, None, f"holds {', '.join(names) or 'nothing'}; expected t, x, y, p, or one table")
        picked = list(_fields(path, tables[0], columns))
    arrays = [np.asarray(each) for each in picked]
    if len({each.shape for each in arrays}) > 1 or arrays[0].ndim != 1:
        shapes = [each.shape for each in arrays]
        raise DecodeError(path, None, f"arrays of shapes {shapes}; expected four of one length")
    t = _microseconds(path, arrays[0], unit)
    return ArraySource("npz", (t, *arrays[1:]), size, defects)


def read_csv(path: Path, size: tuple[int, int] | None, defects: Defects, columns: str, unit: str) -> ArraySource:
    """Text with a separator of commas, semicolons, tabs or blanks, and a line of names or none."""
    try:
        with path.open("r", encoding="utf-8") as file:
            first = file.readline(4096)
        separator = next((each for each in ",;" if each in first), None)
        words = first.strip().lstrip("#").strip().lower()
        names = [each.strip() for each in (words.split(separator) if separator else words.split())]
        named = bool(names) and not _is_number(names[0])
        if named:
            order = [next((names.index(alias) for alias in ALIASES[key] if alias in names), None) for key in "txyp"]
            if any(each is None for each in order):
                raise DecodeError(path, 0, f"columns {', '.join(names)}; expected names for t, x, y and p")
        else:
            if not first.strip():
                raise DecodeError(path, 0, "the first line is empty; expected events or names of columns")
            order = [columns.index(key) for key in "txyp"]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            table: Any = np.loadtxt(
                path,
                delimiter=separator,
                skiprows=int(named),
                usecols=[each for each in order if each is not None],
                ndmin=2,
                encoding="utf-8",
            )
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(path, None, f"not a table of events: {error}") from None
    if table.size == 0:
        table = table.reshape(0, 4)
    values = [table[:, place] for place in range(4)]
    t, *rest = values
    if unit == "auto" and not _has_fraction(t):
        t = _whole(path, "t", t)
    whole = [_whole(path, key, each) for key, each in zip("xyp", rest, strict=True)]
    return ArraySource("csv", (_microseconds(path, t, unit), whole[0], whole[1], whole[2]), size, defects)


def read_hdf5(path: Path, size: tuple[int, int] | None, defects: Defects, unit: str) -> ArraySource:
    """Data sets t, x, y, p at the root or in a group (events, CD/events); read as they are asked for."""
    try:
        import h5py
    except ImportError:
        raise ImportError("HDF5 files need h5py: pip install 'eas-det[h5]'") from None
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401 - registers the filters that event data sets are compressed with
    try:
        file = h5py.File(path, "r")
        group = next((file[name] for name in ("events", "CD/events", "/") if _has_arrays(file, name)), None)
        if group is None:
            raise DecodeError(
                path, None, f"no t, x, y, p among {', '.join(file) or 'nothing'} (nor in events, CD/events)"
            )
        arrays = [next(group[name] for name in ALIASES[key] if name in group) for key in "txyp"]
        if any(each.ndim != 1 for each in arrays) or len({each.shape for each in arrays}) > 1:
            shapes = [each.shape for each in arrays]
            raise DecodeError(path, None, f"arrays of shapes {shapes}; expected four of one length")
        if size is None and "width" in group and "height" in group:
            size = check_size((int(group["width"][()]), int(group["height"][()])))
        offset = int(file["t_offset"][()]) if "t_offset" in file else 0
        times: Any = arrays[0]
        if times.dtype.kind == "f" or unit not in ("auto", "us"):
            times = _microseconds(path, times[:], unit)
        if len(times):
            # a filter that is missing, or the end of a damaged file, shows here and not in the middle of the work
            int(times[0]), int(times[-1])
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(path, None, f"not readable as HDF5 events: {error}") from None
    return _Hdf5("hdf5", (times, *arrays[1:]), size, defects, offset=offset)


class _Hdf5(ArraySource):
    def _events(self, first: int, last: int) -> Any:
        try:
            return super()._events(first, last)
        except (OSError, RuntimeError, MemoryError) as error:
            raise ValueError(f"a block of the file cannot be read: {error}") from None


def _has_arrays(file: Any, name: str) -> bool:
    import h5py

    group = file.get(name)
    if not isinstance(group, h5py.Group):
        return False
    found = [next((group[alias] for alias in ALIASES[key] if alias in group), None) for key in "txyp"]
    return all(isinstance(each, h5py.Dataset) for each in found)


def _fields(path: Path, array: Any, columns: str) -> tuple[Any, Any, Any, Any]:
    names = array.dtype.names
    if names is not None and array.ndim == 1:
        found = [next((name for name in ALIASES[key] if name in names), None) for key in "txyp"]
        if any(each is None for each in found):
            raise DecodeError(path, 0, f"records with fields {', '.join(names)}; expected t, x, y and p")
        picked = [array[name] for name in found]
    elif names is None and array.ndim == 2 and array.shape[1] == 4:
        picked = [array[:, columns.index(key)] for key in "txyp"]
        if array.dtype.kind == "f":
            picked[1:] = [_whole(path, key, each) for key, each in zip("xyp", picked[1:], strict=True)]
    else:
        raise DecodeError(path, 0, f"shape {array.shape}, dtype {array.dtype}; expected records, or a table [N, 4]")
    for key, each in zip("txyp", picked, strict=True):
        if each.ndim != 1 or each.dtype.kind not in ("iuf" if key == "t" else "iub"):
            raise DecodeError(path, 0, f"{key} has dtype {each.dtype}, shape {each.shape}; expected whole numbers")
    return picked[0], picked[1], picked[2], picked[3]


def _microseconds(path: Path, t: Any, unit: str) -> Any:
    """Integer times are microseconds, fractions are seconds (the convention of most text files), unless told."""
    if t.dtype.kind in "iu" and unit in ("auto", "us"):
        return t
    if t.dtype.kind not in "iuf":
        raise DecodeError(path, None, f"t has dtype {t.dtype}; expected numbers")
    factor = {"auto": 1e6, "s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}[unit]
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(np.asarray(t, np.float64) * factor)
        wrong = ~(np.abs(scaled) < 2**62)
    if wrong.any():
        raise DecodeError(path, None, f"time {t[int(np.argmax(wrong))]} at record {int(np.argmax(wrong))} is no time")
    return scaled.astype(np.int64)


def _whole(path: Path, name: str, values: Any) -> Any:
    with np.errstate(invalid="ignore"):
        wrong = ~((values == np.rint(values)) & (np.abs(values) < 2**62))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DecodeError(path, None, f"{name}={values[first]} at record {first}; expected a whole number")
    return values.astype(np.int64)


def _has_fraction(values: Any) -> bool:
    return bool((values != np.rint(values)).any())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
