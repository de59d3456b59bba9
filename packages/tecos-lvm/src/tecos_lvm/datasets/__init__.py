"""Readers of recordings, and generators with known ground truth. Nothing is downloaded."""

from tecos_lvm.datasets.files import load_npz, read_frames, save_npz
from tecos_lvm.datasets.hdf5 import load_nwb, load_zheng_hdf5
from tecos_lvm.datasets.matlab import load_onken, load_onken_folder, load_onken_images, load_pillow_rgc
from tecos_lvm.datasets.nonlinear import make_nonlinear_retina
from tecos_lvm.datasets.synthetic import SyntheticRetina, Truth, make_retina

__all__ = [
    "SyntheticRetina",
    "Truth",
    "load_npz",
    "load_nwb",
    "load_onken",
    "load_onken_folder",
    "load_onken_images",
    "load_pillow_rgc",
    "load_zheng_hdf5",
    "make_nonlinear_retina",
    "make_retina",
    "read_frames",
    "save_npz",
]
