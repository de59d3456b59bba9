"""Which format a file has: what it begins with decides, its name only where the bytes say nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from eas_det.errors import DecodeError

FORMATS = ("dat", "evt2", "evt3", "bin", "es", "aedat4", "npy", "npz", "csv", "hdf5")

_MAGIC = (
    (b"Event Stream", "es"),
    (b"#!AER-DAT4", "aedat4"),
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "npz"),
    (b"PK\x05\x06", "npz"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
)
_SUFFIX = {".dat": "dat", ".bin": "bin", ".csv": "csv", ".txt": "csv", ".h5": "hdf5", ".hdf5": "hdf5"}
_LONGEST_HEADER = 1 << 20
# sensors that write no geometry into their files, by the name of their driver
_PLUGINS = (("gen41", (1280, 720)), ("gen4", (1280, 720)), ("imx636", (1280, 720)), ("gen3", (640, 480)))


@dataclass(frozen=True)
class Header:
    """Lines that begin with '%', and where the binary part begins."""

    text: str
    size: int

    @property
    def sensor_size(self) -> tuple[int, int] | None:
        """(width, height) if the lines say so."""
        pair = re.search(r"geometry[ :=]+(\d{1,5})x(\d{1,5})", self.text, re.IGNORECASE)
        if pair:
            return _size(pair[1], pair[2])
        width = re.search(r"\bwidth[ :=]+(\d{1,5})\b", self.text, re.IGNORECASE)
        height = re.search(r"\bheight[ :=]+(\d{1,5})\b", self.text, re.IGNORECASE)
        if width and height:
            return _size(width[1], height[1])
        plugin = re.search(r"plugin_name (\S+)", self.text)
        if plugin:
            return next((size for name, size in _PLUGINS if name in plugin[1].lower()), None)
        return None

    @property
    def encoding(self) -> str | None:
        """ "2", "3", ... for raw files; None where no line names one."""
        found = re.search(r"^% *(?:evt +|format +EVT)(\d(?:\.\d)?)", self.text, re.IGNORECASE | re.MULTILINE)
        return found[1].removesuffix(".0") if found else None


def _size(width: str, height: str) -> tuple[int, int] | None:
    return (int(width), int(height)) if int(width) and int(height) else None


def read_header(path: Path) -> Header:
    """The '%' lines of a file; empty for a file without. Binary data may hold a '%' too: a line must be text."""
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    size = 0
    while start[size : size + 1] == b"%":
        end = start.find(b"\n", size)
        line = start[size:end] if end >= 0 else b"\x00"
        if not all(byte >= 32 or byte in (9, 13) for byte in line):
            break
        size = end + 1
        if line.strip() == b"% end":
            break
    return Header(start[:size].decode("latin-1"), size)


def sniff(path: Path) -> str:
    """One of FORMATS; DecodeError where nothing fits."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise DecodeError(path, 0, "the file is empty")
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    if start.startswith(b"#!AER-DAT"):
        raise DecodeError(path, 0, f"AEDAT {start[9:12].decode('latin-1')} is not supported; convert it to AEDAT4")
    suffix = path.suffix.lower()
    if start[:1] == b"%" and suffix != ".bin":
        header = read_header(path)
        encoding = header.encoding
        if encoding in ("2", "3"):
            return f"evt{encoding}"
        if encoding is not None:
            raise DecodeError(path, 0, f"EVT {encoding} is not supported; expected EVT 2.0 or 3.0")
        if header.size and suffix != ".raw":
            return "dat"
    if suffix in _SUFFIX:
        return _SUFFIX[suffix]
    if suffix == ".raw":
        raise DecodeError(path, 0, "a .raw file whose header names no encoding; pass format='evt2' or format='evt3'")
    if all(byte in b"0123456789+-.eE,; \t\r\nxytps#_abcdefghijklmnoqruvwz" for byte in start):
        return "csv"
    raise DecodeError(path, 0, f"no known format begins with {start[:8]!r}; pass format=, one of {', '.join(FORMATS)}")
