"""Laws of the model: causality, pieces equal the whole, two forms of the loop, exact likelihood."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tecos_lvm import SpikeDataset, TeCoSConfig, TeCoSLoss, TeCoSLVM, TrainConfig, fit
from tecos_lvm.clips import Streams
from tecos_lvm.config import MEMORIES
from tecos_lvm.datasets import SyntheticRetina
from tecos_lvm.free import free_run
from tecos_lvm.losses import kl_normal, spike_nll
from tecos_lvm.model import TeCoSState
from tecos_lvm.recurrence import escape


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stimulus(batch: int = 2, steps: int = 12) -> torch.Tensor:
    return torch.randn(batch, steps, 3, 4, dtype=torch.float64, generator=seeded(5))


def make(**options: object) -> TeCoSLVM:
    torch.manual_seed(0)
    sizes = {"feature_dim": 8, "hidden_dim": 6, "latent_dim": 4, "coder_dim": 7, "decoder_dim": 9}
    return TeCoSLVM(TeCoSConfig((3, 4), 5, **{**sizes, **options})).double()  # type: ignore[arg-type]


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("hidden", ["noisy", "lif"])
@pytest.mark.parametrize("memory", ["cascade", "none"])
def test_fast_path_equals_its_twin(reset: str, hidden: str, memory: str) -> None:
    model, x = make(reset=reset, hidden=hidden, memory=memory), stimulus()
    y = (torch.rand(2, 12, 5, generator=seeded(2)) < 0.2).double()
    found = {}
    for backend in ("reference", "fast"):
        model.zero_grad()
        out = model(x, y_teacher=y, generator=seeded(), backend=backend)
        loss = TeCoSLoss(beta=0.1)
        (loss.spike_terms(out, None, y, sigma=0.3, dt_ms=10.0) + 0.1 * loss.kl(out)).backward()
        found[backend] = {
            n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()
        }
        found[backend]["kl"] = out.kl.detach()
        found[backend]["p"] = out.p_spike.detach()
    for name, wanted in found["reference"].items():
        torch.testing.assert_close(found["fast"][name], wanted, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("memory", MEMORIES)
def test_pieces_with_carried_state_equal_the_whole(memory: str) -> None:
    model, x = make(memory=memory), stimulus()
    with torch.no_grad():
        whole = model(x, n_samples=3, generator=seeded())
        g, state, parts = seeded(), None, []
        for piece in x.split((5, 1, 6), dim=1):
            out = model(piece, state, n_samples=3, generator=g)
            state = out.state
            parts.append(out)
    assert torch.equal(torch.cat([o.spikes for o in parts], 2), whole.spikes)
    torch.testing.assert_close(torch.cat([o.potential for o in parts], 2), whole.potential, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", ["reference", "fast"])
def test_the_future_does_not_reach_the_past(backend: str) -> None:
    model, x = make(), stimulus()
    changed = x.clone()
    changed[:, 7:] += 3.0
    with torch.no_grad():
        a, b = (model(z, generator=seeded(), backend=backend) for z in (x, changed))
    assert torch.equal(a.spikes[:, :, :7], b.spikes[:, :, :7])
    assert torch.equal(a.p_spike[:, :, :7], b.p_spike[:, :, :7])
    assert not torch.equal(a.p_spike[:, :, 7:], b.p_spike[:, :, 7:])


def test_responses_reach_only_later_bins_of_their_own_neuron() -> None:
    model, x = make(), stimulus(1)
    y = torch.zeros(1, 12, 5, dtype=torch.float64)
    other = y.clone()
    other[0, 4, 2] = 1
    with torch.no_grad():
        a, b = (model(x, y_teacher=t, generator=seeded()).potential[0, 0] for t in (y, other))
    differs = a != b
    assert not differs[:5].any()
    assert not differs[:, [0, 1, 3, 4]].any()
    assert differs[5:, 2].all()


def test_step_by_step_equals_generation() -> None:
    model, x = make(), stimulus(1)
    whole = model.generate(x[0].numpy(), 1, generator=seeded(), chunk=5)
    g, state, rows = seeded(), None, []
    for frame in x.unbind(1):
        y, state = model.step(frame, state, generator=g)
        rows.append(y)
    assert (torch.cat(rows).numpy() == whole[0]).all()


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("hidden", ["noisy", "lif"])
def test_compiled_free_run_equals_the_model(reset: str, hidden: str) -> None:
    model, x = make(reset=reset, hidden=hidden), stimulus()
    with torch.no_grad():
        wanted = model(x, n_samples=2, generator=seeded(), backend="reference")
    spikes, potential, state = free_run(model, x.flatten(2), None, 2, True, seeded())
    torch.testing.assert_close(potential, wanted.potential, rtol=1e-10, atol=1e-12)
    assert torch.equal(spikes.double(), wanted.spikes)
    assert 0 < spikes.double().mean() < 1
    for mine, theirs in zip((state.encoder, state.decoder, state.output, *state.memory),
                            (wanted.state.encoder, wanted.state.decoder, wanted.state.output, *wanted.state.memory),
                            strict=True):  # fmt: skip
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("memory", MEMORIES)
def test_no_parameter_knows_the_length(memory: str) -> None:
    model = make(memory=memory)
    shapes = [tuple(p.shape) for p in model.parameters()]
    for steps in (1, 300):
        with torch.no_grad():
            out = model(torch.zeros(1, steps, 3, 4), generator=seeded())
        assert out.spikes.shape == (1, 1, steps, 5)
        assert bool(torch.isfinite(out.potential).all())
    assert [tuple(p.shape) for p in model.parameters()] == shapes


def test_without_noise_and_samples_everything_is_determined() -> None:
    model, x = make(output="lif", hidden="lif"), stimulus()
    with torch.no_grad():
        a, b = (model(x, sample=False, generator=seeded(s)) for s in (1, 2))
    assert torch.equal(a.spikes, b.spikes)
    assert torch.equal(a.spikes > 0, a.potential >= 1)


def test_batch_order_does_not_matter() -> None:
    model, x = make(), stimulus(3)
    with torch.no_grad():
        a = model(x, sample=False).p_spike
        b = model(x[[2, 0, 1]], sample=False).p_spike
    torch.testing.assert_close(b, a[:, [2, 0, 1]], rtol=1e-12, atol=1e-12)


def test_likelihood_by_hand_from_the_recursion() -> None:
    """log_likelihood against a plain loop over u_t = b u_{t-1} + I_t - r y_{t-1}."""
    model, x = make(), stimulus(1)
    y = (torch.rand(1, 12, 5, generator=seeded(2)) < 0.3).double()
    with torch.no_grad():
        out = model(x, y_teacher=y, generator=seeded())
        zero = model(x, y_teacher=torch.zeros_like(y), generator=seeded()).potential[0, 0]
        b, r = torch.sigmoid(model.output_decay), model.output_reset
        before = torch.zeros(5, dtype=torch.float64)
        current = torch.stack([zero[t] - b * (zero[t - 1] if t else before) for t in range(12)])
        u = torch.zeros(5, dtype=torch.float64)
        last, rows = torch.zeros(5, dtype=torch.float64), []
        for t in range(12):
            u = b * u + current[t] - r * last
            last = y[0, t]
            rows.append(u)
    torch.testing.assert_close(torch.stack(rows), out.potential[0, 0], rtol=1e-10, atol=1e-10)
    p = torch.special.ndtr((torch.stack(rows) - 1) / 0.3)
    wanted = -torch.where(y[0] > 0, p.log(), torch.log1p(-p))
    torch.testing.assert_close(spike_nll(out.potential[0, 0], y[0], 0.3), wanted, rtol=1e-6, atol=1e-8)
    mine = model.log_likelihood(x[0].numpy(), y.numpy(), generator=seeded(), chunk=5)
    assert mine == pytest.approx(-wanted.sum(0).numpy(), rel=1e-6)


def test_streams_of_noise_are_normal_and_firing_is_the_same_event() -> None:
    from scipy.special import ndtr, ndtri
    from scipy.stats import kstest

    from tecos_lvm._kernels.noise import below, normal, normals

    words = np.r_[np.arange(0, 2**32, 9_999_991, dtype=np.uint32), np.uint32([0, 255, 256, 2**31, 2**32 - 1])]
    exact = -ndtri(((words >> 8) + 0.5) * 2.0**-24)
    found = np.empty((1, len(words)))
    normal(words[None], 0, len(words), found)
    assert found[0] == pytest.approx(exact, abs=1e-6)
    for q in (-7.0, -5.0, -2.0, 0.3, 1.0, 4.0, 7.0):  # fires where q + noise >= 0, up to 4e-7 of probability
        near = np.abs(ndtr(q) - ((words >> 8) + 0.5) * 2.0**-24) < 4e-7
        assert [below(np.float32(q), w) for w in words[~near]] == (q + exact >= 0)[~near].tolist()
    out = np.empty((400, 251))
    normals(np.random.default_rng(0).integers(0, 2**62, 400), out)
    assert kstest(out.ravel(), "norm").pvalue > 0.01
    assert kstest(out[:, 0] + out[:, 1], "norm", (0, 2**0.5)).pvalue > 0.01  # two draws of one hash
    assert kstest(out[:, 0] + out[:, 2], "norm", (0, 2**0.5)).pvalue > 0.01
    assert np.abs(np.corrcoef(out[:, :40].T) - np.eye(40)).max() < 0.25


def test_frames_are_standardised_by_the_training_stimulus() -> None:
    plain, model, x = make(), make(), stimulus()
    model.standardise(x)
    with torch.no_grad():
        wanted = plain((x - x.mean()) / x.std(), generator=seeded())
        found = model(x, generator=seeded())
        again = model.generate(x[0].numpy(), 2, generator=seeded())
        theirs = plain.generate(((x - x.mean()) / x.std())[0].numpy(), 2, generator=seeded())
    torch.testing.assert_close(found.potential, wanted.potential, rtol=1e-9, atol=1e-9)
    assert (again == theirs).all()


@pytest.mark.parametrize("n_samples", [1, 3, 4, 6])
def test_a_row_does_not_feel_the_others(n_samples: int) -> None:
    """Rows go through the compiled pass in fours; what a row does depends on its own stream alone."""
    model, x = make(), stimulus(1).flatten(2)
    whole, _, _ = free_run(model, x, None, 6, True, seeded())
    model._seeds = lambda steps, rows, g: torch.empty(steps, 6, dtype=torch.int64).random_(generator=g)[:, :rows]  # type: ignore[method-assign]
    part, potential, _ = free_run(model, x, None, n_samples, True, seeded())
    assert torch.equal(part, whole[:n_samples])
    none = free_run(model, x, None, n_samples, True, seeded(), keep=False)
    assert torch.equal(none[0], part)
    assert none[1].numel() == 0 < potential.numel()


def test_escape_noise_frequency_and_gradient() -> None:
    u = torch.full((40_000,), 1.2, dtype=torch.float64, requires_grad=True)
    s = escape(u, torch.randn(40_000, dtype=torch.float64, generator=seeded()), 0.3)
    p = 0.7475074625
    assert abs(s.mean().item() - p) < 4 * (p * (1 - p) / 40_000) ** 0.5
    s.sum().backward()
    assert u.grad is not None
    torch.testing.assert_close(u.grad, torch.full_like(u, 1.0648266851), rtol=1e-8, atol=0)


def test_kl_known_and_never_negative() -> None:
    def kl(m_p: float, s_p: float) -> float:
        t = [torch.tensor(v, dtype=torch.float64) for v in (0.5, 2 * np.log(0.8), m_p, 2 * np.log(s_p))]
        return float(kl_normal(*t))

    assert kl(0.0, 1.0) == pytest.approx(0.1681435513, abs=1e-10)
    assert kl(-0.2, 1.5) == pytest.approx(0.3797197705, abs=1e-10)
    assert kl(0.5, 0.8) == pytest.approx(0.0, abs=1e-14)
    with torch.no_grad():
        assert bool((make()(stimulus(), generator=seeded()).kl >= -1e-12).all())


def test_gradient_balance_keeps_the_value() -> None:
    out = make()(stimulus(), generator=seeded())
    plain, balanced = TeCoSLoss().kl(out), TeCoSLoss(kl_balance=0.8).kl(out)
    torch.testing.assert_close(plain, balanced)
    assert TeCoSLoss(free_bits=100.0).kl(out).item() == pytest.approx(400.0)


@pytest.mark.parametrize("carry_s", [0.0, 1.2])
def test_training_lowers_the_loss_and_resumes_to_the_same_weights(
    small: SyntheticRetina, tmp_path: Path, carry_s: float
) -> None:
    torch.manual_seed(0)
    config = TeCoSConfig((6, 6), 4, feature_dim=12, hidden_dim=12, decoder_dim=24, coder_dim=16, latent_dim=4)
    first = TeCoSLVM(config)
    start = {k: v.clone() for k, v in first.state_dict().items()}
    recipe = TrainConfig(steps=40, batch=8, clip_s=0.4, carry_s=carry_s, burn_in_s=0.1, checks=4)
    whole = fit(first, small.train, small.val, config=recipe, progress=False)
    assert whole.history[-1]["train_loss"] < whole.history[0]["train_loss"]
    second = TeCoSLVM(config)
    second.load_state_dict(start)
    with pytest.raises(KeyboardInterrupt):
        fit(second, small.train, small.val, config=recipe, run_dir=tmp_path, progress=False, callback=_stop_at(20))
    part = fit(second, small.train, small.val, config=recipe, run_dir=tmp_path, progress=False, max_seconds=0.0)
    assert 10 < part.steps < 40
    last = fit(second, small.train, small.val, config=recipe, run_dir=tmp_path, progress=False)
    assert last.steps == 40
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", "config.json", "metrics.csv", "results.json"]
    kept = TeCoSLVM.from_pretrained(tmp_path / "checkpoints" / "best")
    assert all(torch.equal(value, kept.state_dict()[name]) for name, value in first.state_dict().items())
    assert json.loads((tmp_path / "results.json").read_text())["steps"] == 40
    with pytest.raises(ValueError, match="another run \\(train differ"):
        fit(second, small.train, small.val, config=TrainConfig(steps=41), run_dir=tmp_path, progress=False)
    (tmp_path / "checkpoints" / "last.pt").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        fit(second, small.train, small.val, config=recipe, run_dir=tmp_path, progress=False)


def test_a_clip_goes_on_where_the_last_one_ended() -> None:
    streams = Streams(200, 3, 10, 4, 0.5, 1, dt_ms=10.0)
    model, before, went_on = make(), None, 0
    model.set_rest(TeCoSState.of(part + 2 for part in model.initial_state().parts()))
    for _ in range(40):
        streams.move(model)
        now = [*zip(streams.starts.tolist(), streams.trial.tolist(), strict=True)]
        for row, (start, trial) in enumerate(now):
            assert 0 <= start <= 190
            if before is None:
                continue
            on = (start, trial) == (before[row][0] + 10, before[row][1])
            went_on += on
            assert streams.states[0] is not None
            wanted = 1.0 if on else 2.0 if start else 0.0  # what the step before left, rested, blank
            assert all(bool((part[row] == wanted).all()) for part in streams.states[0].parts())
        before = now
        streams.states = [TeCoSState.of(part + 1 for part in model.initial_state(4).parts()), None]
    assert 0.6 * 156 < went_on < 0.85 * 156  # four of five clips, but for streams at the movie's end


def test_a_stretch_starts_at_the_mean_state_of_the_training(small: SyntheticRetina) -> None:
    torch.manual_seed(0)
    model = TeCoSLVM(TeCoSConfig((6, 6), 4, feature_dim=8, hidden_dim=8, decoder_dim=8, coder_dim=8, latent_dim=4))
    assert not any(part.any() for part in model.rested_state(2).parts())
    recipe = TrainConfig(steps=20, batch=4, clip_s=0.2, carry_s=1.0, checks=1)
    fit(model, small.train, small.val, config=recipe, progress=False)
    start = model.rested_state(3)
    assert all(bool(part.any()) for part in (start.encoder, start.decoder, *start.memory))
    assert not any(part.any() for part in model.initial_state(2).parts())
    state = model(small.train.stimulus[None, :50]).state
    model.set_rest(state)
    torch.testing.assert_close(model.rested_state(2).memory[0], state.memory[0].repeat(2, 1))


def _stop_at(step: int) -> Callable[[dict[str, float]], None]:
    def stop(row: dict[str, float]) -> None:
        if row["step"] == step:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("loss", [TeCoSLoss(nll=0, mmd=1), TeCoSLoss(nll=0, psp=1), TeCoSLoss(nll=1, rate=1)])
def test_every_loss_gives_finite_gradients(small: SyntheticRetina, loss: TeCoSLoss) -> None:
    torch.manual_seed(0)
    model = TeCoSLVM(TeCoSConfig((6, 6), 4, feature_dim=8, hidden_dim=8, decoder_dim=8, coder_dim=8, latent_dim=4))
    recipe = TrainConfig(steps=3, batch=2, clip_s=0.3, burn_in_s=0.05, checks=1)
    result = fit(model, small.train, small.val, config=recipe, loss=loss, progress=False)
    assert np.isfinite(result.history[0]["train_loss"])
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_files(model: TeCoSLVM, tmp_path: Path) -> None:
    model.float().standardise(np.random.default_rng(0).normal(2, 3, (50, 3, 4)))
    model.save_pretrained(tmp_path / "m")
    again = TeCoSLVM.from_pretrained(tmp_path / "m")
    x = stimulus(1)[0].float().numpy()
    assert (again.generate(x, 3, generator=seeded()) == model.generate(x, 3, generator=seeded())).all()
    weights = (tmp_path / "m" / "weights.npz").read_bytes()
    (tmp_path / "m" / "weights.npz").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match="readable model"):
        TeCoSLVM.from_pretrained(tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="save_pretrained"):
        TeCoSLVM.from_pretrained(tmp_path)


def test_bad_input(model: TeCoSLVM) -> None:
    x = stimulus()
    bad = x.clone()
    bad[0, 3, 0, 0] = float("nan")
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: model(bad), "nan or inf, first in bin 3"),
        (lambda: model(x[..., :3]), "expected"),
        (lambda: model(x, y_teacher=torch.full((2, 12, 5), 2.0)), "not counts"),
        (lambda: model(x, y_teacher=torch.zeros(2, 11, 5)), "y_teacher has shape"),
        (lambda: model(x, model.initial_state(3)), "batch of 3"),
        (lambda: model(x, n_samples=0), "n_samples"),
        (lambda: model(x, backend="gpu"), "backend"),
        (lambda: make(memory="gru")(x, backend="fast"), "cascade"),
        (lambda: make(memory="brain"), "memory='brain'"),
        (lambda: make(encoder="custom"), "belong together"),
        (lambda: TeCoSLoss(nll=0), "weigh 0"),
        (lambda: TrainConfig(carry_s=-1.0), "carry_s"),
        (lambda: TrainConfig(carry_s=0.0, burn_in_s=2.0), "burn_in_s"),
        (lambda: make(output="lif").log_likelihood(x[0], np.zeros((1, 12, 5))), "no likelihood"),
        (lambda: model.standardise(np.zeros((4, 3, 4))), "constant"),
        (lambda: fit(model, SpikeDataset(np.zeros((1, 300, 5)), 10.0)), "no stimulus"),
        (
            lambda: fit(model, SpikeDataset(np.zeros((1, 40, 5)), 10.0, np.ones((40, 3, 4)).cumsum(0))),
            "do not fit into 40",
        ),
        (lambda: fit(make(), SpikeDataset(np.zeros((1, 300, 4)), 10.0, np.ones((300, 3, 4)).cumsum(0))), "4 neurons"),
    ]
    for call, match in cases:
        with pytest.raises(ValueError, match=match):
            call()


@pytest.mark.parametrize("encoder", ["linear", "mlp", "rectified", "conv"])
def test_features_of_all_frames_at_once_equal_frame_by_frame(encoder: str) -> None:
    torch.manual_seed(0)
    model = TeCoSLVM(TeCoSConfig((16, 15), 2, encoder=encoder, feature_dim=6)).double()
    x = torch.randn(4, 3, 240, dtype=torch.float64)
    rows = torch.stack([model.features(frame) for frame in x])
    torch.testing.assert_close(model.features(x), rows, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_likelihood_of_several_trials_shares_the_latent_paths(reset: str) -> None:
    model, x = make(reset=reset), stimulus(1)
    y = (torch.rand(3, 12, 5, generator=seeded(2)) < 0.3).double()
    with torch.no_grad():
        p = [model(x, n_samples=2, y_teacher=t[None], generator=seeded()).p_spike.mean((0, 1)) for t in y]
    p = [q.clamp(1e-6, 1 - 1e-6) for q in p]
    wanted = sum(torch.where(t > 0, q.log(), torch.log1p(-q)).sum(0) for t, q in zip(y, p, strict=True))
    found = model.log_likelihood(x[0].numpy(), y.numpy(), n_samples=2, generator=seeded(), chunk=5)
    assert found == pytest.approx(np.asarray(wanted), rel=1e-8)
    with pytest.raises(ValueError, match="expected"):
        model.log_likelihood(x[0].numpy(), y[:, :7].numpy())
