"""What goes wrong with a recording, said in one line."""

from __future__ import annotations

from os import PathLike, fspath

__all__ = ["DecodeError"]


class DecodeError(ValueError):
    """A file is not what its format promises.

    Args:
        path: the file.
        offset: byte at which the defect lies, counted from the start of the file; None where a byte has no meaning
            (text, compressed containers).
        reason: what was found, what was expected, what to do.
    """

    def __init__(self, path: str | PathLike[str], offset: int | None, reason: str) -> None:
        self.path = fspath(path)
        self.offset = offset
        self.reason = reason
        where = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{self.path}{where}: {reason}")

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, int | None, str]]:
        return DecodeError, (self.path, self.offset, self.reason)
