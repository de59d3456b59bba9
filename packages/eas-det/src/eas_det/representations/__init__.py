"""Tensors from events. Arrays on the CPU by compiled loops; whole batches on a GPU by ``bin_batch``."""

from typing import TYPE_CHECKING, Any

from .counts import event_count, micro_counts, stacked_histogram, voxel_cube
from .grids import time_surface, voxel_grid

if TYPE_CHECKING:
    from .batch import PackedEvents, bin_batch, pack
    from .learned import LearnedKernelVoxel, letterbox

__all__ = [
    "LearnedKernelVoxel",
    "PackedEvents",
    "bin_batch",
    "event_count",
    "letterbox",
    "micro_counts",
    "pack",
    "stacked_histogram",
    "time_surface",
    "voxel_cube",
    "voxel_grid",
]

# torch takes a second to load, and a person who only bins on the CPU does not need it
_LATER = {"PackedEvents": "batch", "bin_batch": "batch", "pack": "batch", "LearnedKernelVoxel": "learned"} | {
    "letterbox": "learned"
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name!r}")
