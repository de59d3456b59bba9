"""Does a dataset need time? Probes, controls, indices with intervals, and one report."""

from slr_cma.diagnostics.audit import audit_generator
from slr_cma.diagnostics.probes import KernelRidge
from slr_cma.diagnostics.report import TemporalReport, temporal_report
from slr_cma.diagnostics.sources import from_torch_dataset
from slr_cma.diagnostics.stats import holm, tci, tdi, wilson
from slr_cma.diagnostics.tier0 import describe_time
from slr_cma.diagnostics.tier2 import model_report

__all__ = [
    "KernelRidge",
    "TemporalReport",
    "audit_generator",
    "describe_time",
    "from_torch_dataset",
    "holm",
    "model_report",
    "tci",
    "tdi",
    "temporal_report",
    "wilson",
]
