"""DVS-SLR and its like: reading, binning, splitting, caching."""

from slr_cma.data.aedat4 import read_aedat4
from slr_cma.data.augment import Augment, Augmented
from slr_cma.data.binning import Binning, align_frames, bin_events, bin_events_reference
from slr_cma.data.cache import CachedSigns, convert
from slr_cma.data.dvs_slr import DVSSLR, bin_recording, read_recording, scan
from slr_cma.data.events import Events, Recording
from slr_cma.data.official import official_pairs, official_windows
from slr_cma.data.splits import LABELS, LIGHTS, POSITIONS, USERS, Key, check_leakage, split_keys, subject_split

__all__ = [
    "DVSSLR",
    "LABELS",
    "LIGHTS",
    "POSITIONS",
    "USERS",
    "Augment",
    "Augmented",
    "Binning",
    "CachedSigns",
    "Events",
    "Key",
    "Recording",
    "align_frames",
    "bin_events",
    "bin_events_reference",
    "bin_recording",
    "check_leakage",
    "convert",
    "official_pairs",
    "official_windows",
    "read_aedat4",
    "read_recording",
    "scan",
    "split_keys",
    "subject_split",
]
