"""Images to train and attack on: files given by path, scikit-learn's digits, a generator of known robustness."""

from spk_regularize.data.cifar import read_cifar
from spk_regularize.data.folder import read_image_folder
from spk_regularize.data.idx import read_idx, read_mnist
from spk_regularize.data.images import DataError, ImageSet, Split
from spk_regularize.data.load import digits, load
from spk_regularize.data.synthetic import Synthetic, synthetic_margin

__all__ = [
    "DataError",
    "ImageSet",
    "Split",
    "Synthetic",
    "digits",
    "load",
    "read_cifar",
    "read_idx",
    "read_image_folder",
    "read_mnist",
    "synthetic_margin",
]
