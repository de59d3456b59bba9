"""The noisy output against the neurons it is made of: every backend, and the probability it states."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import spk_neurons
from spk_neurons import functional as F
from spk_neurons.noise import Gaussian
from tecos_lvm import TeCoSConfig, TeCoSLVM


def make(reset: str) -> TeCoSLVM:
    torch.manual_seed(0)
    config = TeCoSConfig((3, 4), 5, feature_dim=8, hidden_dim=6, latent_dim=4, coder_dim=7, decoder_dim=9, reset=reset)
    return TeCoSLVM(config)


def movie() -> Tensor:
    return torch.randn(2, 60, 3, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_every_backend_gives_the_reference_spikes(backend: str, reset: str) -> None:
    model, x = make(reset), movie()
    found = {}
    for name in ("reference", backend):
        with spk_neurons.use_backend(name), torch.no_grad():
            found[name] = model(x, n_samples=3, generator=torch.Generator().manual_seed(2), backend="reference")
    assert torch.equal(found[backend].spikes, found["reference"].spikes)
    assert found["reference"].spikes.sum() > 0


def test_the_stated_probability_is_that_of_noisy_neurons() -> None:
    """Over many draws spk-neurons' noisy units fire as often as the model says, given the potential before noise."""
    model = make("soft")
    with torch.no_grad():
        out = model(movie(), generator=torch.Generator().manual_seed(3))
    u, p = out.potential[0, 0].T, out.p_spike[0, 0].T  # [N, T]: each bin on its own, so that no reset comes between
    draws, sigma = 4000, model.config.sigma
    current = u.reshape(1, -1).expand(draws, -1).contiguous()
    noise, g = Gaussian(sigma), torch.Generator().manual_seed(4)
    fired = F.noisy_lif(current[None], noise=noise, generator=g, decay=0.0, gain=1.0, reset="none").mean((0, 1))
    error = (fired - p.reshape(-1)).abs() / (p * (1 - p) / draws).sqrt().reshape(-1).clamp(min=1e-3)
    assert error.max() < 5  # deviations of a binomial, over 300 bins
