"""The neuron: known answers, every backend alike, laws."""

from __future__ import annotations

import itertools
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from grsn_rl import GRSN, GRSNCell, LIFRecurrent, make_memory
from grsn_rl.cells import SpikingMemory
from grsn_rl.cells import _steps as steps
from grsn_rl.cells._sequence import run
from spk_neurons import ATan
from spk_neurons.scan import check_cell

# the kernels for the GPU run here in a process of their own, interpreted: see test_triton.py
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
BACKENDS = ("reference", "torch", "numba", *(["triton"] if INTERPRETED else []))
# section 8 of the specification: zero state, threshold 1, decay 0.5, F = 0.5, I = 3
K1_SPIKES = [0, 1, 1, 1, 1, 1]
K1_CURRENT = [1.5, 2.25, 2.625, 2.8125, 2.90625, 2.953125]
K1_CHARGE = [0.75, 1.5, 1.5625, 1.6875, 1.796875, 1.875]
K1_D_FORGET = [-1.549160, -0.504424, -0.197736, -0.0707150, -0.0231031, -0.00547834]
K1_D_INPUT = [0.258193, 0.168141, 0.131824, 0.0942867, 0.0616083, 0.0292178]
K1_D_DECAY = -3.618364


def constant(
    t: int, backend: str, keep: Tensor | None = None
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor, Tensor]:
    """K1's cell with gate inputs a = 0 (F = 0.5) and b = 3, everything observed."""
    z = torch.stack([torch.zeros(t, 1, 1), torch.full((t, 1, 1), 3.0), torch.zeros(t, 1, 1)]).requires_grad_()
    decay = torch.tensor([0.5], requires_grad=True)
    zero = torch.zeros(1, 1)
    outs, last = run(steps.driven(False, False, "atan"), z, (zero, zero), decay, keep, 1.0, 2.0, backend)
    return outs, last, z, decay


@pytest.mark.parametrize("backend", BACKENDS)
def test_k1_constant_gates(backend: str) -> None:
    (o, h, c), (v, last_c), z, decay = constant(6, backend)
    assert o.flatten().tolist() == K1_SPIKES
    assert h.flatten().tolist() == K1_CHARGE
    assert c.flatten().tolist() == K1_CURRENT
    assert (v.item(), last_c.item()) == (0.875, 2.953125)
    d_z, d_decay = torch.autograd.grad(o.sum(), (z, decay))
    # dF = da / (F (1 - F)), F = 0.5
    torch.testing.assert_close(4 * d_z[0].flatten(), torch.tensor(K1_D_FORGET), rtol=2e-5, atol=1e-7)
    torch.testing.assert_close(d_z[1].flatten(), torch.tensor(K1_D_INPUT), rtol=2e-5, atol=1e-7)
    torch.testing.assert_close(d_decay, torch.tensor([K1_D_DECAY]), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_k2_an_episode_starts_at_step_three(backend: str) -> None:
    keep = torch.ones(6, 1)
    keep[3] = 0
    (o, _, _), (v, c), _, _ = constant(6, backend, keep)
    assert o.flatten().tolist() == [0, 1, 1, 0, 1, 1]
    assert (v.item(), c.item()) == (0.5625, 2.625)


@pytest.mark.parametrize("backend", BACKENDS)
def test_k3_hard_reset(backend: str) -> None:
    z, zero = torch.full((1, 4, 1, 1), 1.9), torch.zeros(1, 1)
    (o, h), _ = run(steps.leaky(True, False, "atan"), z, (zero,), torch.tensor([0.5]), None, 1.0, 2.0, backend)
    torch.testing.assert_close(h.flatten(), torch.tensor([0.95, 1.425, 0.95, 1.425]))
    assert o.flatten().tolist() == [0, 1, 0, 1]


def test_k5_surrogate() -> None:
    got = ATan(2.0).derivative(torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(got, torch.tensor([1.0, 0.288400, 0.0919997]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("make", [steps.gated, steps.driven, steps.leaky])
def test_the_written_adjoint_equals_autograd_in_float64(make: object, hard: bool) -> None:
    # params decay, keep, threshold, alpha: keep and alpha are no weights
    check_cell(make(hard, False, "atan"), fixed={1: 1.0, 3: 2.0}, backends=("torch",))  # type: ignore[operator]


def all_of(module: SpikingMemory, x: Tensor, keep: Tensor | None, backend: str) -> list[Tensor]:
    module.backend = backend
    module.zero_grad()
    x = x.clone().requires_grad_()
    state = 0.3 * torch.ones(module.num_layers, x.shape[1], module.state_size)
    out, last = module(x, state, keep=keep)
    weight = torch.linspace(-1, 1, out.numel()).view_as(out)
    ((out * weight).sum() + last.square().sum()).backward()
    return [out, last, x.grad, *(p.grad for p in module.parameters())]  # type: ignore[list-item]


MODULES = {
    "input": lambda: GRSN(5, 16),
    "two layers": lambda: GRSN(5, 16, 2),
    "input+spike": lambda: GRSN(5, 16, gate="input+spike"),
    "spike": lambda: GRSN(5, 16, gate="spike"),
    "substeps": lambda: GRSN(5, 16, substeps=3),
    "membrane": lambda: GRSN(5, 16, readout="membrane", learn_decay=False),
    "currents between": lambda: GRSN(5, 16, 2, inter_layer="current"),
    "lif": lambda: LIFRecurrent(5, 16, 2),
    "lif with feedback": lambda: LIFRecurrent(5, 16, feedback=True),
}


@pytest.mark.parametrize("name", ["input", "membrane", "lif"] if INTERPRETED else MODULES)  # one per kernel
def test_backends_agree(name: str) -> None:
    torch.manual_seed(1)
    module, x = MODULES[name](), torch.randn(7, 3, 5)
    keep = (torch.rand(7, 3) > 0.2).float()
    want = all_of(module, x, keep, "reference")
    for backend in BACKENDS[1:]:
        got = all_of(module, x, keep, backend)
        assert torch.equal(got[0], want[0]) or name == "membrane"
        for a, b in zip(got, want, strict=True):
            assert float((a - b).detach().abs().max()) <= 1e-5 * max(1.0, float(b.detach().abs().max()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_equal_one_sequence_bit_for_bit_given_equal_gates(backend: str) -> None:
    torch.manual_seed(2)
    length = 8 if backend == "triton" else 40  # the interpreter is slow
    z = torch.randn(2, length, 6, 32) * 2
    keep = (torch.rand(length, 6) > 0.1).float()
    decay, zero = torch.full((32,), 0.5), torch.zeros(6, 32)
    cell = steps.gated(False, False, "atan")
    (whole,), last = run(cell, z, (zero, zero), decay, keep, 1.0, 2.0, backend)
    state, rows = (zero, zero), []
    for t in range(length):
        (row,), state = run(cell, z[:, t : t + 1], state, decay, keep[t : t + 1], 1.0, 2.0, backend)
        rows.append(row)
    assert 0.05 < whole.mean() < 0.95
    assert torch.equal(torch.cat(rows), whole)
    assert all(map(torch.equal, state, last))


@pytest.mark.parametrize("backend", BACKENDS)
def test_acting_one_step_at_a_time_equals_the_sequence(backend: str) -> None:
    """On numba the fused single step. Spikes differ only where |h - threshold| < 1e-5; they are counted: none does."""
    torch.manual_seed(3)
    length = 6 if backend == "triton" else 60
    net, seen = GRSN(12, 64, backend=backend), GRSN(12, 64, readout="membrane")
    seen.load_state_dict(net.state_dict())
    x, keep = torch.randn(length, 5, 12), (torch.rand(length, 5) > 0.1).float()
    with torch.no_grad():
        whole, last = net(x, keep=keep)
        near = (seen(x, keep=keep)[0] - 1).abs() < 1e-5
        state, rows = None, []
        for t in range(length):
            row, state = net(x[t : t + 1], state, keep=keep[t : t + 1])
            rows.append(row)
    differ = torch.cat(rows) != whole
    assert int((differ & ~near).sum()) == 0
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), t=st.integers(1, 9), cuts=st.lists(st.integers(0, 9), max_size=3))
def test_laws(backend: str, seed: int, t: int, cuts: list[int]) -> None:
    g = torch.Generator().manual_seed(seed)
    z = 3 * torch.randn(3, t, 2, 5, generator=g)
    z[2] = 0
    zero, decay = torch.zeros(2, 5), torch.rand(5, generator=g) * 0.9 + 0.05
    cell = steps.driven(False, False, "atan")
    (o, h, c), (v, last) = run(cell, z, (zero, zero), decay, None, 1.0, 2.0, backend)
    # 1: binary spikes, a bounded current, what the reset takes away
    assert bool(((o == 0) | (o == 1)).all())
    assert float(c.min()) >= 0
    assert float(c.max()) <= float(z[1].relu().max()) * (1 + 1e-6)
    v_all = h - o
    torch.testing.assert_close(o.sum(0), h.sum(0) - v_all.sum(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(v_all[-1], v)
    # 2: pieces with the state passed on equal the whole
    edges = sorted({0, t, *(min(k, t) for k in cuts)})
    state, rows = (zero, zero), []
    for a, b in itertools.pairwise(edges):
        outs, state = run(cell, z[:, a:b], state, decay, None, 1.0, 2.0, backend)
        rows.append(outs[0])
    assert torch.equal(torch.cat(rows), o)
    assert torch.equal(state[1], last)
    # 3: rows do not meet
    flipped = run(cell, z.flip(2), (zero, zero), decay, None, 1.0, 2.0, backend)[0][0]
    assert torch.equal(flipped.flip(1), o)


@pytest.mark.parametrize("backend", BACKENDS)
def test_keep_equals_two_sequences_from_zero_and_rows_do_not_leak(backend: str) -> None:
    net = GRSN(4, 8, backend=backend)
    x = torch.randn(9, 2, 4, requires_grad=True)
    keep = torch.ones(9, 2, dtype=torch.bool)
    keep[5] = False
    out, _ = net(x, keep=keep)
    assert torch.equal(out[5:], net(x[5:])[0])
    assert torch.equal(out[:5], net(x[:5])[0])
    (gradient,) = torch.autograd.grad(net(x)[0][:, 0].sum(), x)
    assert float(gradient[:, 1].abs().max()) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_gate_input_is_input_plus_spike_without_feedback(backend: str) -> None:
    a, b = GRSN(4, 8, backend=backend), GRSN(4, 8, gate="input+spike", backend=backend)
    b.load_state_dict({**a.state_dict(), "weight_hh_l0": torch.zeros(16, 8)})
    x = torch.randn(12, 3, 4)
    assert torch.equal(a(x)[0], b(x)[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_extreme_gates(backend: str) -> None:
    zero, decay, one = torch.zeros(1, 1), torch.tensor([0.5]), torch.ones(1, 1)
    z = torch.stack([torch.full((4, 1, 1), 200.0), torch.full((4, 1, 1), 7.0), torch.zeros(4, 1, 1)])
    (_, _, c), _ = run(steps.driven(False, False, "atan"), z, (zero, one), decay, None, 1.0, 2.0, backend)
    assert c.flatten().tolist() == [1.0] * 4  # F = 1 freezes c
    z[0] = -200.0
    (o, _, c), _ = run(steps.driven(False, False, "atan"), z, (zero, one), decay, None, 1.0, 2.0, backend)
    plain, _ = run(steps.leaky(False, False, "atan"), z[1:2].relu(), (zero,), decay, None, 1.0, 2.0, backend)
    assert torch.equal(o, plain[0])  # F = 0: a plain neuron with soft reset on relu(b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_substeps_are_a_rate_code(backend: str) -> None:
    one, four = GRSN(4, 8, backend=backend), GRSN(4, 8, substeps=4, backend=backend)
    four.load_state_dict(one.state_dict())
    x = torch.randn(6, 2, 4)
    rates, state = four(x)
    assert set((4 * rates).unique().tolist()) <= {0, 1, 2, 3, 4}
    assert state.shape == (1, 2, 24)
    repeated, last = one(x.repeat_interleave(4, 0))
    torch.testing.assert_close(repeated.view(6, 4, 2, 8).mean(1), rates)
    torch.testing.assert_close(last, state)


def test_shapes_and_states_of_a_gru() -> None:
    for args, options in (((4, 8), {}), ((4, 8, 2), {"batch_first": True})):
        gru, net = nn.GRU(*args, **options), GRSN(*args, **options)  # type: ignore[arg-type]
        x = torch.randn(5, 3, 4)
        assert net(x)[0].shape == gru(x)[0].shape
        out, h = net(x[:, :0] if options else x[:0])
        assert out.shape == gru(x)[0][:, :0].shape if options else (0, 3, 8)
        h = net(x)[1].detach()[:, [0]]
        assert net(x[:1] if options else x[:, :1], h)[0].shape[-1] == 8
    out, state = GRSN(4, 8)(torch.randn(5, 4))
    assert out.shape == (5, 8)
    assert state.shape == (1, 24)
    o, state = GRSNCell(4, 8)(torch.randn(3, 4))
    assert o.shape == (3, 8)
    assert state.shape == (3, 24)


def test_batch_first_and_keep() -> None:
    net = GRSN(4, 8)
    x, keep = torch.randn(5, 3, 4), torch.rand(5, 3) > 0.3
    want = net(x, keep=keep)[0]
    net.batch_first = True
    assert torch.equal(net(x.transpose(0, 1), keep=keep.t())[0].transpose(0, 1), want)


def test_half_precision_stays_outside() -> None:
    net, x = GRSN(4, 8), torch.randn(5, 3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net(x)[0], net(x.clone())[0])
        assert net(x)[1].dtype == torch.float32


def test_bad_input() -> None:
    net, x = GRSN(4, 8), torch.randn(5, 3, 4)
    for call, text in (
        (lambda: net(torch.randn(5, 3, 7)), r"takes \[T, B, 4\].*got \(5, 3, 7\)"),
        (lambda: net(x, torch.zeros(1, 2, 24)), r"shape \(1, 2, 24\), the input asks for \(1, 3, 24\)"),
        (lambda: net(x, keep=torch.ones(3, 5)), r"keep has shape \(3, 5\), expected \(5, 3\)"),
        (lambda: GRSN(4, 0), "hidden_size=0 given"),
        (lambda: GRSN(4, 8, decay=1.0), r"decay=1.0 given; expected a number in \(0, 1\)"),
        (lambda: GRSN(4, 8, gate="both"), "choose one of"),  # type: ignore[arg-type]
        (lambda: GRSN(4, 8, bidirectional=True), "runs forward only"),
        (lambda: make_memory("grus", 4, 8), "choose one of"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match="keep= instead"):
        net(nn.utils.rnn.pack_sequence([x[:, 0]]))
    with pytest.raises(TypeError, match=r"x.float\(\)"):
        net(x.long())


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_gru_and_lstm_with_episodes_inside_equal_a_loop(kind: str) -> None:
    torch.manual_seed(0)
    memory = make_memory(kind, 4, 6)
    x, state = torch.randn(9, 5, 4), torch.randn(1, 5, memory.state_size)  # type: ignore[call-overload]
    keep = (torch.rand(9, 5) > 0.3).float()
    out, last = memory(x, state, keep)
    rows, s = [], state
    for t in range(9):
        row, s = memory(x[t : t + 1], s * keep[t][None, :, None], None)
        rows.append(row)
    torch.testing.assert_close(out, torch.cat(rows))
    torch.testing.assert_close(last, s)
