"""Shared: one small generated population, one small model, seeds."""

from __future__ import annotations

import pytest
import torch

from tecos_lvm import TeCoSConfig, TeCoSLVM
from tecos_lvm.datasets import SyntheticRetina, make_retina

RETINA_FILES = ("Movie1Exp1", "Movie1Exp2", "Movie2Exp1")


@pytest.fixture(scope="session")
def small() -> SyntheticRetina:
    return make_retina(n_neurons=4, size=6, train_s=30, val_s=4, test_s=4, val_trials=6, test_trials=8, seed=3)


@pytest.fixture
def model() -> TeCoSLVM:
    torch.manual_seed(0)
    config = TeCoSConfig((3, 4), 5, feature_dim=8, hidden_dim=6, latent_dim=4, coder_dim=7, decoder_dim=9)
    return TeCoSLVM(config).double()


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(1)
