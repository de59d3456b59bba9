"""Fitted models back from their folder."""

from __future__ import annotations

import os
from typing import Any

from demm._demm import DEMMNA, DEMMPlus
from demm._dense import DEMM
from demm._persist import read_model

CLASSES = {"DEMM": DEMM, "DEMMNA": DEMMNA, "DEMMPlus": DEMMPlus}


def load(folder: str | os.PathLike[str]) -> Any:
    """The estimator that ``model.save(folder)`` wrote, fitted, bit for bit.

    Raises:
        FileNotFoundError: no model there. ValueError: not a model of this format.
    """
    return read_model(folder, CLASSES)
