"""Signs from paired events and frames, and a test of whether a dataset needs time."""

from slr_cma._sample import Batch, Sample, collate
from slr_cma.synth.paired_sign import HARD, PairedSign, SignWorld

__version__ = "0.1.0"

__all__ = ["HARD", "Batch", "PairedSign", "Sample", "SignWorld", "__version__", "collate"]
