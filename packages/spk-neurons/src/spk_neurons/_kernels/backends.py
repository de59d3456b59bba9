"""Which backends there are, which one runs, and why."""

from __future__ import annotations

import importlib.util
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

Backend = Literal["auto", "reference", "torch", "numba", "triton"]
BACKENDS: tuple[str, ...] = get_args(Backend)

_default: str | None = None


def check_name(name: str) -> str:
    """The name itself, if it is one of a backend."""
    if name not in BACKENDS:
        raise ValueError(f"backend={name!r} is not known; choose one of {', '.join(BACKENDS)}")
    return name


def set_backend(name: Backend) -> None:
    """Choose the backend used where a call says ``backend="auto"``.

    Args:
        name: "reference", "torch", "numba", "triton", or "auto" to choose by device again. An explicit backend
            never falls back silently. The environment variable SPK_BACKEND does the same for a whole process.
    Raises:
        ValueError: an unknown name.
    """
    global _default
    _default = None if check_name(name) == "auto" else name


@contextmanager
def use_backend(name: Backend) -> Iterator[None]:
    """Like :func:`set_backend`, for the body of a ``with`` statement."""
    global _default
    before = _default
    set_backend(name)
    try:
        yield
    finally:
        _default = before


def _importable(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def why_not(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """The reason why a backend cannot run on this device and dtype, or None if it can."""
    if name in ("reference", "torch"):
        return None
    if name == "numba":
        if device.type != "cpu":
            return f"numba kernels run on the CPU, the input is on {device}"
        return None if _importable("numba") else "numba is not importable; install it with `pip install numba`"
    if not _importable("triton"):
        return "triton is not importable; it comes with CUDA builds of torch"
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        return "triton kernels run on a GPU (on the CPU only interpreted, with TRITON_INTERPRET=1 set before start)"
    return None


def choose(name: str, x: Tensor, *, custom: bool = False, cell: str | None = None) -> str:
    """The backend for this input; ``custom`` says that the surrogate is known to Python only, ``cell`` that a cell
    of this name runs: cells are compiled for the CPU, and on a GPU run as whole-array operations.

    Raises:
        ValueError: the explicit backend cannot run here; the message says why and what to use.
    """
    explicit = check_name(name) if name != "auto" else (_default or check_name(os.environ.get("SPK_BACKEND") or "auto"))
    if explicit != "auto":
        reason = why_not(explicit, x.device, x.dtype)
        if reason is None and custom and explicit in ("numba", "triton"):
            reason = "its kernels know the surrogates of spk_neurons.surrogate only"
        if cell is not None and explicit == "triton":
            reason = f"cell {cell!r} has no triton kernel"
        if reason is not None:
            remedy = "backend='torch'" if cell is not None else "backend='auto' or 'torch'"
            raise ValueError(f"backend={explicit!r} was asked for, but {reason}; use {remedy}")
        return explicit
    if custom:
        return "torch"
    for candidate in ("triton", "numba") if x.is_cuda and cell is None else ("numba",):
        if why_not(candidate, x.device, x.dtype) is None:
            return candidate
    return "torch"


def backend_report(device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> str:
    """One line per backend: available or why not, and which one "auto" would use.

    Args:
        device: where the input would be. dtype: of the input.
    Returns:
        The text (nothing is printed).
    """
    device = torch.device(device)
    lines = []
    for name in BACKENDS[1:]:
        reason = why_not(name, device, dtype)
        lines.append(f"{name:<10} {'available' if reason is None else 'no: ' + reason}")
    order = ("triton", "numba", "torch") if device.type == "cuda" else ("numba", "torch")
    first = next(n for n in order if why_not(n, device, dtype) is None)
    source = "set_backend" if _default else ("SPK_BACKEND" if os.environ.get("SPK_BACKEND") else "")
    named = _default or os.environ.get("SPK_BACKEND") or "auto"
    if source and named != "auto":
        lines.append(f"auto       uses {named} (chosen by {source})")
    else:
        lines.append(f"auto       uses {first} for {str(dtype).removeprefix('torch.')} on {device}")
    return "\n".join(lines)
