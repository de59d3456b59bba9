"""A model running on its own spikes: streaming, generation, prediction. One compiled pass where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

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
) -> tuple[Tensor, Tensor, TeCoSState]:
    """Spikes and potentials [K, B, T, N] and the state after them, as ``forward`` gives from the same draws.

    The cascade memory on a CPU takes the compiled pass; everything else the model's own, which computes the prior and
    the graph's tensors besides.

    Args:
        flat: checked stimuli, [B, T, pixels].
    """
    if not isinstance(model.memory, Cascade) or flat.device.type != "cpu" or flat.shape[1] == 0:
        out, _, _ = model._run(flat, state, n_samples, None, sample, generator, "auto", with_prior=False)
        return out.spikes, out.potential, out.state
    from tecos_lvm._kernels.free import run

    batch, steps = flat.shape[:2]
    before = model._state(state, n_samples * batch)
    f = model.features(flat.transpose(0, 1))
    eps_z, eps_e, eps_d, _, eps_y = model._draws(steps, n_samples * batch, sample, generator)
    decay, amount, soft = model.output_rule()
    after = [_own(part) for part in (before.encoder, *before.memory, before.decoder, before.output)]
    spikes, potential = run(  # type: ignore[call-arg]
        *(_plain(x) for x in (model.encoder_f(f), model.memory_f(f), eps_z, eps_e, eps_d, eps_y)),
        _rows(model.encoder_h.weight), _rows(model.encoder_read.weight), _plain(model.encoder_read.bias),
        _rows(model.memory_z.weight), _plain(torch.sigmoid(model.memory.decay)),
        _plain(torch.sigmoid(model.memory.decay2)), _rows(model.decoder.weight), _plain(model.decoder.bias),
        _rows(model.read.weight), _plain(model.read.bias), _plain(decay), _plain(amount), soft,
        DECAY, THRESHOLD, model.config.sigma, *LOGVAR, *after,
    )  # fmt: skip
    encoder, v, w, decoder, output = (torch.from_numpy(part) for part in after)
    shape = (steps, n_samples, batch, -1)
    return (
        torch.from_numpy(spikes).reshape(shape).permute(1, 2, 0, 3),
        torch.from_numpy(potential).reshape(shape).permute(1, 2, 0, 3),
        type(before)(encoder, before.prior, decoder, output, (v, w)),
    )


def _plain(x: Tensor) -> Any:
    return x.detach().numpy()


def _own(x: Tensor) -> Any:
    return x.detach().numpy().copy()


def _rows(x: Tensor) -> Any:
    return x.detach().T.contiguous().numpy()
