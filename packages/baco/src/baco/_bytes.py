"""Text files as blocks of whole lines: gzip, progress, and refusal of what is not text."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

BLOCK = 1 << 22
_GZIP = b"\x1f\x8b"
# what people hand over by mistake, by its first bytes
_KINDS = {
    b"PAR1": "a parquet file; pass format='parquet'",
    b"PK\x03\x04": "a zip archive (npz files are); unpack it, or pass format='npz'",
    b"\x93NUMPY": "a single numpy array; save the edges with np.savez(path, users=..., items=...)",
    b"(\xb5/\xfd": "zstandard-compressed; unpack it, or compress with gzip",
    b"BZh": "bzip2-compressed; unpack it, or compress with gzip",
    b"\xfd7zXZ": "xz-compressed; unpack it, or compress with gzip",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}


def checked_path(path: str | Path) -> Path:
    """`path` as an existing, non-empty regular file.

    Raises:
        FileNotFoundError, IsADirectoryError, ValueError (empty), TypeError (not a path).
    """
    if not isinstance(path, (str, Path)):
        raise TypeError(f"path must be a string or a Path, got {type(path).__name__}")
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name one file of interactions")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}; check the path (the working folder is {Path.cwd()})")
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; expected interactions, one (user, item) pair per line")
    return path


def first_bytes(path: Path, size: int = 16) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def progress(path: Path, verbose: int, total: int | None, unit: str = "B") -> Any:
    """A bar on stderr, shown where ``verbose`` and stderr is a terminal."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=f"reading {path.name}",
        unit=unit,
        unit_scale=unit == "B",
        disable=None if verbose else True,
        leave=False,
    )


def text_blocks(path: Path, verbose: int = 0, block: int = BLOCK) -> Iterator[bytes]:
    """Blocks of complete lines, each ending in a newline; gzip is recognised by its first bytes.

    A byte order mark is skipped. Raises ValueError where the bytes are not UTF-8 text, or the gzip stream is
    damaged or cut short.
    """
    head = first_bytes(path)
    for magic, what in _KINDS.items():
        if head.startswith(magic):
            raise ValueError(f"{path} is not delimited text but {what}")
    offset = 0
    rest = b""
    with path.open("rb") as raw, progress(path, verbose, path.stat().st_size) as bar:
        file: IO[bytes] = gzip.GzipFile(fileobj=raw) if head.startswith(_GZIP) else raw  # type: ignore[assignment]
        while True:
            try:
                data = file.read(block)
            except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
                raise ValueError(
                    f"{path} is a damaged gzip file, cut short perhaps ({problem}); fetch or compress it again"
                ) from None
            bar.update(raw.tell() - bar.n)
            if offset == 0 and not rest and data.startswith(b"\xef\xbb\xbf"):
                data, offset = data[3:], 3
            if b"\0" in data:
                raise ValueError(
                    f"{path} is binary: byte {offset + len(rest) + data.index(0)} is NUL; expected UTF-8 "
                    "text, "
                    "such as CSV (for parquet or npz pass format=)"
                )
            if not data:
                break
            end = data.rfind(b"\n") + 1
            if end == 0:
                rest += data
                continue
            lines, rest = rest + data[:end], data[end:]
            _check_utf8(path, lines, offset)
            offset += len(lines)
            yield lines
        if rest:
            _check_utf8(path, rest, offset)
            yield rest + b"\n"


def _check_utf8(path: Path, lines: bytes, offset: int) -> None:
    if lines.isascii():
        return
    try:
        lines.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise ValueError(
            f"{path} is not UTF-8 text: byte {offset + problem.start} is 0x{lines[problem.start]:02x} "
            f"({problem.reason}); convert the file, e.g. `iconv -f latin1 -t utf-8`"
        ) from None
