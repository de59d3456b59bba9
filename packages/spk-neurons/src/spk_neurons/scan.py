"""Write your own recurrent elementwise cell once; run it as a compiled, differentiable, compilable sequence operator.

A :class:`Cell` is two functions of one time step, written with ordinary arithmetic and the small vocabulary of this
module (:func:`where`, :func:`heaviside`, :func:`exp`, :func:`sigmoid`, :func:`tanh`, :func:`derivative`). The same
text runs on tensors (backend ``torch``) and, compiled, on cache-sized blocks of neurons (backend ``numba``):

    forward(inputs..., states..., params...)                            -> (outputs..., new_states...)
    backward(inputs..., states..., params..., d_outputs..., d_new_states...) -> (d_inputs..., d_states..., d_params...)

where ``states`` are those before the step and ``d_`` is a loss gradient. Nothing of a step is stored for the
backward pass but the inputs: states are recomputed in the cache.

The guide "write your own cell" builds one in forty lines; ``spk_neurons.functional.alif`` is another example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from spk_neurons._kernels import cell_op
from spk_neurons._kernels.backends import choose
from spk_neurons._kernels.op import transforming
from spk_neurons._kernels.problem import compute_dtype
from spk_neurons._kernels.reference import spike
from spk_neurons._kernels.scalar import derivative, exp, heaviside, sigmoid, tanh, where

__all__ = ["Cell", "check_cell", "derivative", "exp", "heaviside", "sigmoid", "spike", "tanh", "where"]


class Cell:
    """One time step of an elementwise recurrence, and everything needed to run it over a sequence.

    Args:
        name: unique name, the operator's handle ("my_package.gated_lif").
        forward, backward: the step and its adjoint (see the module's text). Branch-free: use :func:`where`.
        inputs, states, params, outputs: how many of each the functions take and return. At least one input, state.
        reference: the step for autograd, called as ``forward`` is; write spikes with :func:`spike`. Default:
            ``forward`` itself, right for smooth cells. Used by backend "reference" and by :func:`check_cell`.
    Raises:
        ValueError: a name already taken, or a count below its minimum.
    """

    def __init__(
        self,
        name: str,
        *,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        inputs: int = 1,
        states: int = 1,
        params: int = 0,
        outputs: int = 1,
        reference: Callable[..., Any] | None = None,
    ) -> None:
        if name in cell_op.CELLS:
            raise ValueError(f"a cell named {name!r} exists already; names are global, prefix yours with your package")
        for label, value, least in (
            ("inputs", inputs, 1),
            ("states", states, 1),
            ("params", params, 0),
            ("outputs", outputs, 1),
        ):
            if value < least:
                raise ValueError(f"{label}={value} given; a cell needs at least {least}")
        self.name = name
        self.forward, self.backward, self.reference = forward, backward, reference or forward
        self.inputs, self.states, self.params, self.outputs = inputs, states, params, outputs
        self._compiled: tuple[Any, Any] | None = None
        cell_op.CELLS[name] = self

    def compiled(self) -> tuple[Any, Any]:
        """The numba kernels (forward, backward), made at first use."""
        if self._compiled is None:
            from spk_neurons._kernels import cell_cpu

            self._compiled = cell_cpu.compile_cell(self)
        return self._compiled

    def __deepcopy__(self, memo: Any) -> Cell:
        # a cell is code under a global name: a copy of a network shares it
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return cell_op.CELLS.__getitem__, (self.name,)

    def __repr__(self) -> str:
        return (
            f"Cell({self.name!r}, inputs={self.inputs}, states={self.states}, params={self.params}, "
            f"outputs={self.outputs})"
        )

    def _check(self, xs: Sequence[Tensor], states: Sequence[Tensor], params: Sequence[Any]) -> None:
        for label, got, want in (
            ("inputs", xs, self.inputs),
            ("states", states, self.states),
            ("params", params, self.params),
        ):
            if len(got) != want:
                raise ValueError(f"cell {self.name!r} takes {want} {label}, got {len(got)}")
        for x in xs:
            if not isinstance(x, Tensor) or not x.is_floating_point():
                raise TypeError(f"cell {self.name!r} needs float tensors as inputs, got {getattr(x, 'dtype', type(x))}")
            if x.shape != xs[0].shape:
                raise ValueError(
                    f"inputs of cell {self.name!r} differ in shape: {tuple(xs[0].shape)}, {tuple(x.shape)}"
                )
        if xs[0].dim() < 1:
            raise ValueError(f"inputs of cell {self.name!r} must be [T, ...], got a scalar")

    def __call__(
        self,
        inputs: Sequence[Tensor],
        states: Sequence[Tensor | float],
        params: Sequence[Tensor | float] = (),
        *,
        backend: str = "auto",
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Run the cell over time.

        Args:
            inputs: tensors [T, *S], all of one shape.
            states: initial states, each broadcast to S.
            params: numbers or tensors that broadcast to [T, *S]; one with T rows varies in time. All differentiable.
            backend: as everywhere.
        Returns:
            (outputs, last_states): outputs [T, *S] in the inputs' dtype, states [*S] (float32 for half inputs).
        Raises:
            ValueError, TypeError: counts, shapes or dtypes that do not fit.
        """
        self._check(inputs, states, params)  # type: ignore[arg-type]
        x = inputs[0]
        f, rest = compute_dtype(x.dtype), x.shape[1:]
        s = [torch.as_tensor(v, dtype=f, device=x.device).expand(rest) for v in states]
        p = [q if isinstance(q, Tensor) else torch.tensor(float(q), dtype=f, device=x.device) for q in params]
        for q in p:
            _check_broadcast(self.name, q, x)
        name = choose(backend, x, cell=self.name)
        if name == "reference":
            return self._run_reference(list(inputs), s, p)
        tracked = torch.is_grad_enabled() and any(t.requires_grad for t in (*inputs, *s, *p))
        if transforming() and not torch.compiler.is_compiling():
            flat = cell_op.Transformed.apply(self.name, name, self.inputs, self.states, *inputs, *s, *p)  # type: ignore[no-untyped-call]
        else:
            run = cell_op.cell_op if tracked or transforming() else cell_op.run_forward
            flat = run(self.name, list(inputs), s, p, name)
        return tuple(flat[: self.outputs]), tuple(flat[self.outputs :])

    def _run_reference(
        self, xs: list[Tensor], states: list[Tensor], params: list[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        f, shape = compute_dtype(xs[0].dtype), xs[0].shape
        if shape[0] == 0:
            return tuple(xs[0].clone() for _ in range(self.outputs)), tuple(s.clone() for s in states)
        rows: list[Any] = []
        state: list[Tensor] = states
        for t in range(shape[0]):
            here = [p[min(t, p.shape[0] - 1)] if p.dim() == len(shape) else p for p in params]
            result = self.reference(*(x[t].to(f) for x in xs), *state, *here)
            rows.append(result[: self.outputs])
            state = list(result[self.outputs :])
        outs = tuple(torch.stack(column).to(xs[0].dtype) for column in zip(*rows, strict=True))
        return outs, tuple(s.expand(shape[1:]) for s in state)


def _check_broadcast(name: str, p: Tensor, x: Tensor) -> None:
    try:
        fits = torch.broadcast_shapes(p.shape, x.shape) == x.shape  # type: ignore[no-untyped-call]
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"a parameter of cell {name!r} has shape {tuple(p.shape)}, which does not broadcast to {tuple(x.shape)}"
        )


def check_cell(
    cell: Cell,
    *,
    steps: int = 7,
    neurons: int = 13,
    seed: int = 0,
    low: float = 0.1,
    high: float = 1.5,
    fixed: dict[int, float] | None = None,
    backends: Sequence[str] = ("torch", "numba"),
) -> None:
    """Compare a cell's backward (torch and, if at hand, numba) with float64 autograd of its reference.

    Args:
        cell: the cell. steps, neurons: size of the random case. seed: of the draw.
        low, high: inputs, states and parameters are drawn uniformly from here.
        fixed: parameters (by position) that are plain constants, e.g. a surrogate's shape, with their values.
        backends: which to check; one that cannot run here is left out.
    Raises:
        AssertionError: naming the tensor whose value or gradient differs by more than 1e-9 (relative).
    """
    from spk_neurons._kernels.backends import why_not

    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=g, dtype=torch.float64)

    base = {
        "input": [draw(steps, neurons) for _ in range(cell.inputs)],
        "state": [draw(neurons) for _ in range(cell.states)],
        "param": [draw(neurons) for i in range(cell.params) if i not in (fixed or {})],
    }

    def all_params(free: list[Tensor]) -> list[Tensor | float]:
        rest = iter(free)
        return [fixed[i] if fixed and i in fixed else next(rest) for i in range(cell.params)]

    weights = [draw(steps, neurons) for _ in range(cell.outputs)] + [draw(neurons) for _ in range(cell.states)]

    def run(backend: str) -> list[tuple[str, Tensor]]:
        leaves = {k: [t.clone().requires_grad_() for t in ts] for k, ts in base.items()}
        outs, last = cell(leaves["input"], leaves["state"], all_params(leaves["param"]), backend=backend)
        results = [*outs, *last]
        loss = torch.stack([(r * w).sum() for r, w in zip(results, weights, strict=True)]).sum()
        flat = [t for ts in leaves.values() for t in ts]
        grads = torch.autograd.grad(loss, flat, allow_unused=True)
        names = [f"gradient of {k} {i}" for k, ts in leaves.items() for i in range(len(ts))]
        values = [f"output {i}" for i in range(cell.outputs)] + [f"last state {i}" for i in range(cell.states)]
        zeros = [torch.zeros_like(t) if v is None else v for t, v in zip(flat, grads, strict=True)]
        return list(zip(values + names, [r.detach() for r in results] + zeros, strict=True))

    expected = run("reference")
    for backend in backends:
        if why_not(backend, torch.device("cpu"), torch.float64) is not None:
            continue
        for (name, want), (_, got) in zip(expected, run(backend), strict=True):
            error = (got - want).abs().max() / want.abs().max().clamp_min(1e-12)
            if not error <= 1e-9:
                raise AssertionError(
                    f"{cell!r} on {backend}: {name} differs from autograd of the reference by {error:.3g}"
                )
