"""A model running on its own spikes: streaming, generation, prediction. One compiled pass where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from tecos_lvm.memory import Cascade
from tecos_lvm.recurrence import DECAY, LOGVAR, THRESHOLD

if TYPE_CHECKING:
    from tecos_lvm.model import TeCoSLVM, TeCoSState

__all__ = ["free_run"]


def free_run(
    model: TeCoSLVM,
    flat: Tensor,
    state: TeCoSState | None,
    n_samples: int,
    sample: bool,
    generator: torch.Generator | None,
    keep: bool = True,
) -> tuple[Tensor, Tensor, TeCoSState]:
    """Spikes and potentials [K, B, T, N] and the state after them, as ``forward`` gives from the same draws.

    The cascade memory on a CPU takes the compiled pass; everything else the model's own, which computes the prior and
    the graph's tensors besides.

    Args:
        flat: checked stimuli, [B, T, pixels]. keep: False: no potentials where that saves something.
    """
    if not isinstance(model.memory, Cascade) or flat.device.type != "cpu" or flat.shape[1] == 0:
        out, _, _ = model._run(flat, state, n_samples, None, sample, generator, "auto", with_prior=False)
        return out.spikes, out.potential, out.state
    from tecos_lvm._kernels.free import run

    c = model.config
    batch, steps = flat.shape[:2]
    rows = n_samples * batch
    before = model._state(state, rows)
    f = model.features(flat.transpose(0, 1))
    seeds = model._seeds(steps, rows, generator).numpy() if sample else np.zeros((steps, rows), np.int64)
    decay, amount, soft = model.output_rule()
    after = [_own(part) for part in (before.encoder, *before.memory, before.decoder, before.output)]
    decoder = model.decoder.weight.detach()
    real = _plain(decoder).dtype.type
    spikes = np.empty((rows, steps, c.n_neurons), np.uint8)
    potential = np.empty((rows if keep else 0, steps, c.n_neurons), real)
    run(  # type: ignore[call-arg]
        c.latent_dim, _plain(model.encoder_f(f)), _plain(model.memory_f(f)), seeds,
        (sample, sample and c.hidden == "noisy", sample and c.output == "noisy"),
        _rows(torch.cat([model.encoder_h.weight, decoder[:, c.latent_dim :]])),
        _rows(torch.cat([decoder[:, : c.latent_dim], model.memory_z.weight])),
        _read(model.encoder_read), _bias(model.encoder_read), _plain(torch.sigmoid(model.memory.decay)),
        _plain(torch.sigmoid(model.memory.decay2)), _plain(model.decoder.bias), _read(model.read), _bias(model.read),
        _plain(decay), _plain(amount), soft, *(real(x) for x in (DECAY, THRESHOLD, 1 / c.sigma, *LOGVAR)), *after,
        spikes, potential,
    )  # fmt: skip
    encoder, v, w, decoder_v, output = (torch.from_numpy(part) for part in after)
    shape = (n_samples, batch, steps, -1)
    return (
        torch.from_numpy(spikes).reshape(shape),
        torch.from_numpy(potential).reshape(shape) if keep else torch.empty(0),
        type(before)(encoder, before.prior, decoder_v, output, (v, w)),
    )


def _plain(x: Tensor) -> Any:
    return x.detach().contiguous().numpy()


def _own(x: Tensor) -> Any:
    return x.detach().numpy().copy()


def _rows(x: Tensor) -> Any:
    """Weights [out, in] as [in / 4, 4, out], zeros added where in is no multiple of four."""
    return pad(x.detach().T, (0, 0, 0, -x.shape[1] % 4)).contiguous().reshape(-1, 4, len(x)).numpy()


def _read(layer: nn.Linear) -> Any:
    """Weights [out, in] as [in + 1, out], a row of zeros at the end, columns of zeros added to sixteens."""
    return pad(layer.weight.detach().T, (0, -layer.out_features % 16, 0, 1)).contiguous().numpy()


def _bias(layer: nn.Linear) -> Any:
    """Its bias, zeros added to sixteens."""
    return pad(layer.bias.detach(), (0, -layer.out_features % 16)).contiguous().numpy()
