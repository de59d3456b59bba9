"""Scores of spike trains and rates. Event lists are in milliseconds; binned spikes are [trials, bins, neurons]."""

from tecos_lvm.metrics.distances import (
    isi_distance,
    spike_distance,
    sttc,
    van_rossum,
    van_rossum_matrix,
    victor_purpura,
    victor_purpura_matrix,
)
from tecos_lvm.metrics.kernels import mmd, psp, van_rossum_binned
from tecos_lvm.metrics.rates import bits_per_spike, ceiling_sb, fev, pearson, smooth, split_half
from tecos_lvm.metrics.report import SpikeReport
from tecos_lvm.metrics.statistics import (
    autocorrelogram,
    cv,
    cv2,
    fano,
    isi,
    isi_hist,
    isi_ks,
    lv,
    noise_correlation,
)

__all__ = [
    "SpikeReport",
    "autocorrelogram",
    "bits_per_spike",
    "ceiling_sb",
    "cv",
    "cv2",
    "fano",
    "fev",
    "isi",
    "isi_distance",
    "isi_hist",
    "isi_ks",
    "lv",
    "mmd",
    "noise_correlation",
    "pearson",
    "psp",
    "smooth",
    "spike_distance",
    "split_half",
    "sttc",
    "van_rossum",
    "van_rossum_binned",
    "van_rossum_matrix",
    "victor_purpura",
    "victor_purpura_matrix",
]
