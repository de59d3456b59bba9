"""TeCoS-LVM: prior, encoder, decoder and memory, one step per bin.

The paper's certain parts are the four operations and that no parameter has a time axis; sizes, graded features, the
cascade memory and the soft reset are our choices (docs, page "The model").
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spk_neurons import functional as F
from tecos_lvm._checks import Array, binary, finite_stimulus
from tecos_lvm.config import TeCoSConfig
from tecos_lvm.features import gain_linear, make_features
from tecos_lvm.free import free_run
from tecos_lvm.memory import Cascade, Nothing, make_memory
from tecos_lvm.recurrence import (
    DECAY,
    LOGVAR,
    THRESHOLD,
    Coder,
    Given,
    run_at_once,
    run_fast,
    run_reference,
    spiking_layer,
)

__all__ = ["TeCoSLVM", "TeCoSOutput", "TeCoSState"]


class TeCoSState(NamedTuple):
    """All a model carries from one bin to the next; every tensor is [K B, width].

    encoder, prior, decoder: potentials of the three cores. output: of the output neurons. memory: the memory's own.
    """

    encoder: Tensor
    prior: Tensor
    decoder: Tensor
    output: Tensor
    memory: tuple[Tensor, ...]

    def parts(self) -> list[Tensor]:
        """Every tensor: the four potentials, then the memory's."""
        return [self.encoder, self.prior, self.decoder, self.output, *self.memory]

    @classmethod
    def of(cls, parts: Iterable[Tensor]) -> TeCoSState:
        """The state whose :meth:`parts` these are."""
        encoder, prior, decoder, output, *memory = parts
        return cls(encoder, prior, decoder, output, tuple(memory))


class TeCoSOutput(NamedTuple):
    """spikes, potential, p_spike: [K, B, T, N]; prior, posterior: (mean, log variance), each [K, B, T, Z];
    kl: [K, B, T], nats per bin; state: after the last bin."""

    spikes: Tensor
    potential: Tensor
    p_spike: Tensor
    prior: tuple[Tensor, Tensor]
    posterior: tuple[Tensor, Tensor]
    kl: Tensor
    state: TeCoSState


class TeCoSLVM(nn.Module):
    """A spiking latent variable model of a population's responses to a stimulus.

    Args:
        config: sizes and choices.
        features: your own module [..., prod(stimulus_shape)] -> [..., feature_dim], with ``encoder="custom"``.
    Stimuli are [B, T, *stimulus_shape]; they are standardised by ``standardise`` (set by ``fit``), one mean and one
    deviation. Draws come from ``generator`` alone (None: torch's global one), a fixed number per bin, so a sequence
    run in pieces with carried state and one generator gives the same spikes as in one go (CPU).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: TeCoSConfig, *, features: nn.Module | None = None) -> None:
        super().__init__()
        c = self.config = config
        if (features is None) == (c.encoder == "custom"):
            raise ValueError("encoder='custom' and features=your_module belong together")
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        self.features = make_features(c, features)
        self.memory = make_memory(c)
        n_f, n_h, n_z, n_e = c.feature_dim, self.memory.size, c.latent_dim, c.coder_dim
        whole = ((n_f + n_h) / n_f) ** -0.5, ((n_f + n_h) / n_h) ** -0.5
        self.encoder_f = gain_linear(n_f, n_e, whole[0], 0.3)
        self.encoder_h = gain_linear(n_h, n_e, whole[1], None)
        self.encoder_read = gain_linear(n_e, 2 * n_z)
        self.memory_f = gain_linear(n_f, c.hidden_dim, (n_f / (n_f + n_z)) ** 0.5)
        self.memory_z = gain_linear(n_z, c.hidden_dim, (n_z / (n_f + n_z)) ** 0.5, None)
        self.prior_h = gain_linear(n_h, n_e, 1.0, 0.3)
        self.prior_read = gain_linear(n_e, 2 * n_z, 0.5)
        self.decoder = gain_linear(n_z + n_h, c.decoder_dim, 1.0, 0.3)
        self.read = gain_linear(c.decoder_dim, c.n_neurons, 0.3)
        with torch.no_grad():
            self.encoder_read.bias[n_z:] = -2.0
            self.prior_read.bias[n_z:] = -1.0
        if c.reset == "soft":
            self.output_decay = nn.Parameter(torch.zeros(c.n_neurons))
            self.output_reset = nn.Parameter(torch.full((c.n_neurons,), 0.5))
        self.set_rates(torch.full((c.n_neurons,), 0.05))
        for place, part in enumerate(self.initial_state().parts()):
            self.register_buffer(f"rest{place}", part[0])

    # -- set up ---------------------------------------------------------------------------------------------------

    def set_rates(self, p_spike: Tensor) -> None:
        """Start the output at these spike probabilities per bin, [N]."""
        with torch.no_grad():
            q = torch.special.ndtri(p_spike.double().clamp(1e-4, 1 - 1e-4))
            self.read.bias.copy_((1 - DECAY) * (THRESHOLD + self.config.sigma * q))

    def standardise(self, stimulus: Any) -> None:
        """Take mean and deviation of this (training) stimulus for all to come."""
        x = torch.as_tensor(np.asarray(finite_stimulus(stimulus))).double()
        if not float(x.std()) > 0:
            raise ValueError("the stimulus is constant; a model of responses to it cannot be fitted")
        with torch.no_grad():
            self.mean.copy_(x.mean())
            self.scale.copy_(x.std())

    def initial_state(self, batch: int = 1) -> TeCoSState:
        """Zeros for ``batch`` sequences: nothing has been seen."""
        widths = [self.config.coder_dim] * 2 + [self.config.decoder_dim, self.config.n_neurons, *self.memory.widths]
        return TeCoSState.of(torch.zeros(batch, n, dtype=self.mean.dtype, device=self.mean.device) for n in widths)

    def rested_state(self, batch: int = 1) -> TeCoSState:
        """The mean state of the training, for ``batch`` sequences that start inside a movie; zeros before any.

        A cell that has watched a movie is adapted to it. Started from zeros in the middle, a model of an adapting
        retina fires too much until its memory has filled.
        """
        places = range(4 + len(self.memory.widths))
        return TeCoSState.of(getattr(self, f"rest{place}").repeat(batch, 1) for place in places)

    def set_rest(self, state: TeCoSState, weight: float = 1.0) -> None:
        """Move :meth:`rested_state` towards the mean of these states; ``weight`` 1: all the way."""
        with torch.no_grad():
            for place, part in enumerate(state.parts()):
                getattr(self, f"rest{place}").lerp_(part.detach().mean(0), weight)

    def _seeds(self, steps: int, rows: int, generator: torch.Generator | None) -> Tensor:
        """Starts of the streams of noise, one for each bin and row: [T, K B], int64."""
        return torch.empty(steps, rows, dtype=torch.int64).random_(generator=generator)

    def _draws(self, steps: int, rows: int, sample: bool, generator: torch.Generator | None) -> tuple[Tensor, ...]:
        """Normal draws [T, K B, width] of latent, encoder, decoder, output, prior; zeros for what is deterministic."""
        c = self.config
        widths = [c.latent_dim, c.coder_dim, c.decoder_dim, c.n_neurons, c.coder_dim]
        pairs = [n + n % 2 for n in widths]
        noise = torch.empty(steps, rows, sum(pairs), dtype=self.mean.dtype, device=self.mean.device)
        if not sample:
            noise.zero_()
        elif noise.device.type != "cpu":
            noise.normal_(generator=generator)
        else:
            from tecos_lvm._kernels.noise import normals

            normals(self._seeds(steps, rows, generator).flatten().numpy(), noise.flatten(0, 1).numpy())
        parts = noise.split(pairs, dim=-1)  # type: ignore[no-untyped-call]
        z, e, d, y, p = (part[..., :n] for part, n in zip(parts, widths, strict=True))
        if c.hidden == "lif":
            e, d, p = (torch.zeros_like(part) for part in (e, d, p))
        return z, e, d, torch.zeros_like(y) if c.output == "lif" else y, p

    def _input(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            x = torch.as_tensor(np.asarray(finite_stimulus(x)))
        shape = self.config.stimulus_shape
        if x.dim() != 2 + len(shape) or tuple(x.shape[2:]) != shape:
            raise ValueError(
                f"the stimulus has shape {tuple(x.shape)}; expected [batch, bins, {', '.join(map(str, shape))}]"
            )
        x = x.to(device=self.mean.device, dtype=self.mean.dtype)
        if not math.isfinite(float(x.sum())) and not bool(torch.isfinite(x).all()):
            frame = int((~torch.isfinite(x)).flatten(2).any(2).any(0).to(torch.uint8).argmax())
            raise ValueError(
                f"the stimulus of shape {tuple(x.shape)} has nan or inf, first in bin {frame}; fill or cut it"
            )
        return ((x - self.mean) / self.scale).flatten(2)  # type: ignore[no-any-return]

    def _state(self, state: TeCoSState | None, batch: int) -> TeCoSState:
        if state is None:
            return self.initial_state(batch)
        if len(state.encoder) != batch:
            raise ValueError(
                f"the state belongs to a batch of {len(state.encoder)}, the stimulus and n_samples make {batch}; pass "
                "state=None to start fresh"
            )
        return state

    # -- the model ------------------------------------------------------------------------------------------------

    def forward(
        self,
        x: Any,
        state: TeCoSState | None = None,
        *,
        n_samples: int = 1,
        y_teacher: Any = None,
        sample: bool = True,
        generator: torch.Generator | None = None,
        backend: str = "auto",
    ) -> TeCoSOutput:
        """Run the four operations over a clip.

        Args:
            x: stimuli [B, T, *stimulus_shape].
            state: of ``K B`` sequences, from an earlier call; None: zeros. No gradient flows through it.
            n_samples: K; the features are computed once and shared.
            y_teacher: recorded spikes [B, T, N]: they, not the model's own, reset the output, so that ``p_spike`` is
                the exact probability of each recorded spike given the past ones.
            sample: False: z is the posterior mean and every unit deterministic.
            generator: source of the draws.
            backend: "reference" (autograd), "fast" (compiled: cascade memory on a CPU; all bins at once:
                no memory) or "auto".
        """
        flat = self._input(x)
        out, _, _ = self._run(flat, state, n_samples, y_teacher, sample, generator, backend, with_prior=True)
        return out

    def _run(
        self,
        flat: Tensor,
        state: TeCoSState | None,
        n_samples: int,
        y_teacher: Any,
        sample: bool,
        generator: torch.Generator | None,
        backend: str,
        *,
        with_prior: bool,
    ) -> tuple[TeCoSOutput, Tensor, Tensor]:
        c = self.config
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples} given; it must be >= 1")
        if backend not in ("auto", "fast", "reference"):
            raise ValueError(f"backend={backend!r} is not known; choose 'auto', 'fast' or 'reference'")
        batch, steps = flat.shape[:2]
        rows = n_samples * batch
        state = self._state(state, rows)
        teacher = None if y_teacher is None else self._teacher(y_teacher, batch, steps, n_samples)
        f = self.features(flat.transpose(0, 1))  # [T, B, F]
        f_q, f_m = (layer(f).repeat(1, n_samples, 1) for layer in (self.encoder_f, self.memory_f))

        eps_z, eps_e, eps_d, eps_y, eps_p = self._draws(steps, rows, sample, generator)
        coder = Coder(self.encoder_h, self.encoder_read, self.memory_z, c.sigma)
        run = run_reference
        if steps > 0 and isinstance(self.memory, Nothing):
            run = run_at_once
        elif steps > 0 and isinstance(self.memory, Cascade) and flat.device.type == "cpu":
            run = run_fast
        elif backend == "fast":
            raise ValueError("backend='fast' is for memory 'cascade' on a CPU, and 'none'; use 'auto' or 'reference'")
        if backend == "reference":
            run = run_reference
        memory = tuple(m.detach() for m in state.memory)
        un = run(f_q, f_m, eps_e, eps_z, coder, self.memory, state.encoder.detach(), memory)

        prior_v = state.prior
        if c.prior == "standard" or not with_prior:
            m_p, l_p = torch.zeros_like(un.mean), torch.zeros_like(un.mean)
        else:
            s_p, prior_v = spiking_layer(self.prior_h(un.h), eps_p, state.prior, c.sigma)
            m_p, raw = self.prior_read(s_p).chunk(2, dim=-1)
            l_p = raw.clamp(*LOGVAR)
        s_d, decoder_v = spiking_layer(self.decoder(torch.cat([un.z, un.h], dim=-1)), eps_d, state.decoder, c.sigma)
        current = self.read(s_d)
        spikes, u, output_v = self._output(current, eps_y, state.output.detach(), teacher)
        p = torch.special.ndtr((u - THRESHOLD) / c.sigma)

        def shaped(t: Tensor) -> Tensor:  # [T, K B, ...] -> [K, B, T, ...]
            return t.reshape(steps, n_samples, batch, -1).permute(1, 2, 0, 3)

        kl = 0.5 * (l_p - un.logvar + (un.logvar.exp() + (un.mean - m_p).square()) * torch.exp(-l_p) - 1)
        after = TeCoSState(un.encoder_v.detach(), prior_v.detach(), decoder_v.detach(), output_v.detach(),
                           tuple(m.detach() for m in un.memory))  # fmt: skip
        out = TeCoSOutput(
            shaped(spikes), shaped(u), shaped(p), (shaped(m_p), shaped(l_p)), (shaped(un.mean), shaped(un.logvar)),
            shaped(kl).sum(-1), after,
        )  # fmt: skip
        return out, shaped(un.h), shaped(un.z)

    def _teacher(self, y: Any, batch: int, steps: int, n_samples: int) -> Tensor:
        found = y if isinstance(y, Tensor) else torch.as_tensor(binary(y, "y_teacher"))
        wanted = (batch, steps, self.config.n_neurons)
        if tuple(found.shape) != wanted:
            raise ValueError(f"y_teacher has shape {tuple(found.shape)}; expected [batch, bins, neurons] = {wanted}")
        if not bool(((found == 0) | (found == 1)).all()):
            raise ValueError("y_teacher holds values other than 0 and 1; spikes are meant, not counts")
        return found.to(self.mean).transpose(0, 1).repeat(1, n_samples, 1)

    def output_rule(self) -> tuple[Tensor, Tensor, bool]:
        """Decay and reset of the output, [N] each, and whether the reset is soft (else to 0, and the amount idle)."""
        if self.config.reset == "hard":
            return torch.full_like(self.read.bias, DECAY), torch.zeros_like(self.read.bias), False
        decay = torch.sigmoid(self.output_decay)
        return decay, self.output_reset / decay, True  # u loses decay * amount = output_reset a bin later

    def _output(self, current: Tensor, eps: Tensor, v: Tensor, teacher: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Spikes, potential before the reset and state after it; the reset is by own spikes or by the teacher's."""
        c = self.config
        decay, amount, soft = self.output_rule()
        if teacher is None:
            options: dict[str, Any] = {"reset": "soft", "amount": amount} if soft else {"reset": "hard"}
            s, out = F.noisy_lif(current, v, noise=Given(c.sigma, eps), decay=decay, record=("h",), **options)
            return s, out.h, out.state.v
        before = torch.cat([torch.zeros_like(teacher[:1]), teacher[:-1]])
        if soft:
            u = F.li(current - self.output_reset * before, v, decay=decay, gain=1.0)
        else:
            u = F.li(current, v, decay=decay * (1 - before), gain=1.0)
        last = u[-1] - amount * teacher[-1] if soft else u[-1] * (1 - teacher[-1])
        s = (u.detach() + c.sigma * eps >= THRESHOLD).to(u.dtype)
        return s, u, last

    # -- use ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(
        self,
        x_t: Any,
        state: TeCoSState | None = None,
        *,
        sample: bool = True,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, TeCoSState]:
        """One frame in, one bin of spikes out: real time.

        Args:
            x_t: [B, *stimulus_shape]. state: of the bin before; None: zeros.
        Returns:
            (spikes [B, N], state).
        """
        x_t = x_t if isinstance(x_t, Tensor) else torch.as_tensor(np.asarray(finite_stimulus(x_t)))
        spikes, _, state = free_run(self, self._input(x_t[:, None]), state, 1, sample, generator)
        return spikes[0, :, 0].to(self.mean.dtype), state

    def _chunks(self, x: Any, n: int, chunk: int, generator: torch.Generator | None, *, keep: bool) -> Any:
        x = x if isinstance(x, Tensor) else np.asarray(x)
        if chunk < 1 or n < 1:
            raise ValueError(f"chunk={chunk} and {n} samples asked; both must be >= 1")
        if tuple(x.shape[1:]) != self.config.stimulus_shape:
            raise ValueError(f"the stimulus has shape {tuple(x.shape)}; expected [bins, *{self.config.stimulus_shape}]")
        state = None
        for start in range(0, len(x), chunk):
            flat = self._input(x[start : start + chunk][None])
            spikes, potential, state = free_run(self, flat, state, n, True, generator, keep=keep)
            yield start, spikes[:, 0], potential[:, 0] if keep else potential

    @torch.no_grad()
    def generate(
        self, x: Any, n_trials: int = 1, *, generator: torch.Generator | None = None, chunk: int = 1024
    ) -> Array:
        """Free-running trials, [n_trials, T, N] uint8; working memory does not grow with T.

        Args:
            x: one stimulus [T, *stimulus_shape]. chunk: bins at a time.
        """
        spikes = np.empty((n_trials, len(x), self.config.n_neurons), dtype=np.uint8)
        for start, part, _ in self._chunks(x, n_trials, chunk, generator, keep=False):
            spikes[:, start : start + part.shape[1]] = part.to(torch.uint8).cpu().numpy()
        return spikes

    @torch.no_grad()
    def predict_p(
        self, x: Any, n_samples: int = 20, *, generator: torch.Generator | None = None, chunk: int = 1024
    ) -> Array:
        """Probability of a spike per bin, [T, N]: mean over free-running samples of their own probabilities."""
        rows = [
            torch.special.ndtr((u - THRESHOLD) / self.config.sigma).mean(0)
            for _, _, u in self._chunks(x, n_samples, chunk, generator, keep=True)
        ]
        empty = torch.zeros(0, self.config.n_neurons)
        return torch.cat(rows or [empty]).double().cpu().numpy()

    def predict_rate(self, x: Any, n_samples: int = 20, **options: Any) -> Array:
        """The same in spikes per second: a probability per bin over the bin's length, [T, N]."""
        return self.predict_p(x, n_samples, **options) / (self.config.dt_ms / 1000)

    @torch.no_grad()
    def log_likelihood(
        self, x: Any, spikes: Any, *, n_samples: int = 1, generator: torch.Generator | None = None, chunk: int = 256
    ) -> Array:
        """Log likelihood of recorded trials given stimulus and their own past, per neuron [N], nats.

        With ``n_samples`` > 1 the probabilities of each bin are averaged over samples of the latent path first. A
        latent path does not see the responses, so each sample gives an exact sequence of predictive probabilities.

        Args:
            x: [T, *stimulus_shape]. spikes: [R, T, N].
        """
        y = torch.as_tensor(binary(spikes)).to(self.mean)
        if self.config.output != "noisy":
            raise ValueError("a deterministic output has no likelihood; use output='noisy'")
        if y.dim() != 3 or tuple(y.shape[1:]) != (len(x), self.config.n_neurons):
            raise ValueError(
                f"spikes have shape {tuple(y.shape)}; expected [trials, {len(x)} bins, {self.config.n_neurons} neurons]"
            )
        trials, k, n = len(y), n_samples, self.config.n_neurons
        total = torch.zeros(n, dtype=torch.float64)
        decay, _, _ = self.output_rule()
        state, v = None, y.new_zeros(trials * k, n)
        for start in range(0, len(x), chunk):
            flat = self._input(x[None, start : start + chunk])
            steps = flat.shape[1]
            # without a spike the potential tells the current, which all trials share; then each trial's own resets
            silent = y.new_zeros(1, steps, n)
            out, _, _ = self._run(flat, state, k, silent, True, generator, "auto", with_prior=False)
            u = out.potential[:, 0].transpose(0, 1)
            before = u.new_zeros(k, n) if state is None else state.output
            current = u - decay * torch.cat([before[None], u[:-1]])
            state = out.state
            teacher = y[:, start : start + chunk].transpose(0, 1)
            shape = (steps, trials, k, n)
            drive, past = (t.expand(shape).reshape(steps, -1, n) for t in (current[:, None], teacher[:, :, None]))
            _, potential, v = self._output(drive, torch.zeros_like(drive), v, past)
            p = torch.special.ndtr((potential - THRESHOLD) / self.config.sigma).double()
            p = p.reshape(shape).mean(2).clamp(1e-6, 1 - 1e-6).cpu()
            total += torch.where(teacher.cpu() > 0, p.log(), torch.log1p(-p)).sum((0, 1))
        return total.numpy()

    @torch.no_grad()
    def trajectories(self, x: Any, *, generator: torch.Generator | None = None) -> tuple[Array, Array]:
        """Memory h before each bin [T, H] and latent z [T, Z] of one free run, for plots."""
        _, h, z = self._run(self._input(x[None]), None, 1, None, True, generator, "auto", with_prior=False)
        return h[0, 0].cpu().numpy(), z[0, 0].cpu().numpy()

    # -- files ----------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``weights.npz`` into a folder; no pickle inside."""
        from tecos_lvm.storage import save

        save(self, folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> TeCoSLVM:
        """Read what :meth:`save_pretrained` wrote.

        Raises:
            FileNotFoundError, ValueError: no such folder; of a later schema; weights that do not fit or are damaged.
        """
        from tecos_lvm.storage import read

        settings, weights = read(folder)
        try:
            model = cls(TeCoSConfig(**settings))
            rest = {name: value for name, value in model.state_dict().items() if name.startswith("rest")}
            model.load_state_dict({**rest, **weights})  # files of models without it start from zeros
        except (TypeError, RuntimeError) as problem:
            raise ValueError(f"{folder}: the weights do not fit the configuration ({problem})") from None
        return model
