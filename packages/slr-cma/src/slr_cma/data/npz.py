"""Read arrays of untrusted .npz files: no pickle runs, but those that hold numpy arrays of plain numbers do open."""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_npz"]

#: what a pickled object array is made of; nothing else is ever looked up
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
}
#: a member that unpacks to more is refused before it is unpacked (a recording of frames is about 33 MB)
MOST_BYTES = 2 << 30


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a file of arrays")
        return super().find_class(module, name)


def read_npz(path: Path | str, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Arrays of a .npz file by name.

    Members stored as Python objects (DVS-SLR's frame times are) go through an unpickler that admits numpy's array
    constructors alone, and must hold plain numbers or arrays.

    Raises:
        ValueError: missing file, truncated or foreign content, missing keys, objects that are not numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            missing = [key for key in keys if key not in names]
            if missing:
                raise ValueError(
                    f"{path} has no array {missing[0]!r}; it holds {', '.join(sorted(names)) or 'nothing'}"
                )
            return {key: _member(archive, names[key], f"{path}: {key}") for key in keys}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is truncated or no .npz file ({error}); get it again") from None


def _member(archive: zipfile.ZipFile, name: str, where: str) -> NDArray[Any]:
    if archive.getinfo(name).file_size > MOST_BYTES:
        raise ValueError(f"{where} unpacks to {archive.getinfo(name).file_size} bytes, more than {MOST_BYTES}: refused")
    stream = io.BytesIO(archive.read(name))
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = read(stream)
    except Exception as error:
        # numpy evaluates the header: a damaged one can raise anything
        raise ValueError(f"{where} is no numpy array: {error}") from None
    if not dtype.hasobject:
        stream.seek(0)
        try:
            out: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        except (ValueError, MemoryError) as error:
            raise ValueError(f"{where} is truncated: {error}") from None
        return out
    try:
        loaded = _ArraysOnly(stream).load()
    except Exception as error:
        # a hostile or damaged pickle can raise anything; whatever it is, the file is refused
        raise ValueError(f"{where} is a pickle that does not hold numpy arrays alone: {error}") from None
    return _numbers(loaded, where)


def _numbers(loaded: Any, where: str) -> NDArray[Any]:
    try:
        out = np.array([np.asarray(x) for x in np.asarray(loaded, dtype=object).ravel()]) if np.ndim(loaded) else loaded
        out = np.asarray(out)
    except ValueError as error:
        raise ValueError(f"{where} holds arrays of different shapes: {error}") from None
    if out.dtype.kind not in "iufb":
        raise ValueError(f"{where} holds {out.dtype} objects; expected numbers")
    shape = np.shape(loaded)
    return out.reshape(shape + out.shape[1:]) if shape else out
