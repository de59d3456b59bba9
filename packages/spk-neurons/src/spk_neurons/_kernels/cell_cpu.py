"""Compiled loops around a scalar cell: the same blocked passes for any cell of ``spk_neurons.scan``.

The loop is written out for the cell's numbers of inputs, states, parameters and outputs. All rows of a block live
in one flat scratch array of constant row width: the compiler then knows that they do not overlap, and turns the
loop over neurons into SIMD code however many rows a cell has, as long as the cell is branch-free.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import hashlib
import importlib.util
import marshal
import math
import os
import sys
import tempfile
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
import torch
from numba import types
from numba.extending import overload, register_jitable
from torch import Tensor

from spk_neurons._kernels import cpu_math, scalar, threads
from spk_neurons._kernels.step import Step

#: neurons per block
WIDTH = 256
#: numbers per row of the scratch array: rows whose distance divides 4096 bytes would make loads wait for stores
PITCH = WIDTH + 16


@overload(scalar.where)
def _where(condition, a, b):
    return lambda condition, a, b: a if condition else b


@overload(scalar.heaviside)
def _heaviside(condition, like):
    # the constants take the dtype of like: a float32 cell must not drift into float64
    one, zero = (np.float32(1), np.float32(0)) if like == types.float32 else (np.float64(1), np.float64(0))
    return lambda condition, like: one if condition else zero


@overload(scalar.exp)
def _exp(x):
    return lambda x: cpu_math.exp(x)


@overload(scalar.sigmoid)
def _sigmoid(x):
    one = np.float32(1) if x == types.float32 else np.float64(1)

    def impl(x):
        e = cpu_math.exp(-abs(x))
        q = one / (one + e)
        return q if x >= 0 else e * q

    return impl


@overload(scalar.tanh)
def _tanh(x):
    one = np.float32(1) if x == types.float32 else np.float64(1)

    def impl(x):
        e = cpu_math.exp(-abs(x + x))
        y = (one - e) / (one + e)
        return y if x >= 0 else -y

    return impl


@overload(scalar.derivative)
def _derivative(kind, u, p0, p1):
    single = u == types.float32
    real = np.float32 if single else np.float64
    half, one, zero, k36 = real(0.5), real(1), real(0), real(36)
    half_pi, root = real(0.5 * math.pi), real(math.sqrt(2 * math.pi))

    def impl(kind, u, p0, p1):
        if kind == 1:
            return one / p0 if abs(u) <= half * p0 else zero
        if kind == 2:
            return max(p0 - abs(u), zero) / (p0 * p0)
        if kind == 3:
            z = half_pi * p0 * u
            return half * p0 / (one + z * z)
        if kind == 4:
            e = cpu_math.exp(-abs(p0 * u))
            q = one / (one + e)
            return p0 * e * q * q
        if kind == 5:
            z = one + p0 * abs(u)
            return one / (z * z)
        if kind == 6:
            z = u / p0
            return cpu_math.exp(-half * z * z) / (p0 * root)
        if kind == 7:
            return half * p0 * cpu_math.exp(-p0 * abs(u))
        z, d, s = u / p0, (u - p0) / p0, (u + p0) / p0
        lobes = cpu_math.exp(-half * d * d / k36) + cpu_math.exp(-half * s * s / k36)
        return ((one + p1) * cpu_math.exp(-half * z * z) - p1 * lobes / (k36 / real(6))) / (p0 * root)

    return impl


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


def source(cell: Step) -> str:
    """Python text of the two blocked loops of this cell."""
    ni, ns, npar, no = cell.inputs, cell.states, cell.params, cell.outputs
    x, s, p, o = _names("x", ni), _names("s", ns), _names("p", npar), _names("o", no)
    go, gs, gx, gp = _names("go", no), _names("gs", ns), _names("gx", ni), _names("gp", npar)
    rows: dict[str, int] = {}

    def at(name: str) -> str:
        return f"w[{rows.setdefault(name, len(rows)) * PITCH} + j]"

    def loop(body: list[str], indent: str, stop: str = "n") -> list[str]:
        return [f"{indent}for j in range({stop}):", *[f"{indent}    {line}" for line in body]]

    def row(array: str, where: str, body: str, indent: str, width: str = "n") -> list[str]:
        # a slice first: an index that might be negative would turn the copy into a gather
        return [f"{indent}r_{array} = {array}[{where}]", *loop([body], indent, width)]

    def load(names: list[str], index: str, indent: str) -> list[str]:
        return [line for k in names for line in row(k, f"{index}a : a + n", f"{at(k)} = r_{k}[j]", indent)]

    def store(names: list[str], index: str, indent: str) -> list[str]:
        return [line for k in names for line in row(k, f"{index}a : a + n", f"r_{k}[j] = {at(k)}", indent)]

    def param_rows(time: bool, indent: str) -> list[str]:
        test, index = ("> 1", "t, ") if time else ("== 1", "0, ")
        return [line for k in p for line in [f"{indent}if {k}.shape[0] {test}:", *load([k], index, indent + "    ")]]

    head = "import numpy as np\nfrom numba import njit\n\n\n"
    fwd = [
        '@njit(nogil=True, cache=True, error_model="numpy")',
        f"def forward({', '.join([*x, *s, *p, *o])}, steps, lo, hi):",
        f"    w = np.zeros(ROWS_F * {PITCH}, {s[0]}.dtype)",
        f"    for a in range(lo, hi, {WIDTH}):",
        f"        n = min({WIDTH}, hi - a)",
        *load(s, "", "        "),
        *param_rows(False, "        "),
        "        for t in range(steps):",
        *load(x, "t, ", "            "),
        *param_rows(True, "            "),
        *loop(
            [f"{', '.join(at(k) for k in [*o, *s])}, = fwd({', '.join(at(k) for k in [*x, *s, *p])})"],
            "            ", str(WIDTH),
        ),
        *store(o, "t, ", "            "),
        *store(s, "", "        "),
    ]  # fmt: skip
    count_f = len(rows)
    rows = {}

    def tiles(body: str) -> list[str]:
        return [
            line
            for i, k in enumerate(s)
            for line in row(
                "tile", f"(t * {ns} + {i}) * {WIDTH} : (t * {ns} + {i + 1}) * {WIDTH}",
                body.format(at(k)), "            ", str(WIDTH),
            )
        ]  # fmt: skip

    back = [
        '@njit(nogil=True, cache=True, error_model="numpy")',
        f"def backward({', '.join([*x, *s, *p, *go, *gs, *gx, *gp])}, steps, lo, hi):",
        f"    w = np.zeros(ROWS_B * {PITCH}, {s[0]}.dtype)",
        f"    tile = np.empty(steps * {ns * WIDTH}, {s[0]}.dtype)",
        f"    for a in range(lo, hi, {WIDTH}):",
        f"        n = min({WIDTH}, hi - a)",
        *load(s, "", "        "),
        *param_rows(False, "        "),
        "        for t in range(steps):",
        *load(x, "t, ", "            "),
        *param_rows(True, "            "),
        *tiles("r_tile[j] = {}"),
        *loop(
            [f"{'_, ' * no}{', '.join(at(k) for k in s)}, = fwd({', '.join(at(k) for k in [*x, *s, *p])})"],
            "            ", str(WIDTH),
        ),
        *load(gs, "", "        "),
        *[line for k in gp for line in loop([f"{at(k)} = 0"], "        ", str(WIDTH))],
        "        for i in range(steps):",
        "            t = steps - 1 - i",
        *load(x, "t, ", "            "),
        *load(go, "t, ", "            "),
        *param_rows(True, "            "),
        *tiles("{} = r_tile[j]"),
        *loop(
            [
                f"{', '.join([*[at(k) for k in [*gx, *gs]], *_names('d', npar)])}, = "
                f"bwd({', '.join(at(k) for k in [*x, *s, *p, *go, *gs])})",
                *[f"{at(k)} += d{i}" for i, k in enumerate(gp)],
            ],
            "            ", str(WIDTH),
        ),
        *store(gx, "t, ", "            "),
        *[
            line
            for k in gp
            for line in [
                f"            if {k}.shape[0] > 1:",
                *row(k, "t, a : a + n", f"r_{k}[j] = {at(k)}", "                "),
                *loop([f"{at(k)} = 0"], "                "),
            ]
        ],
        *store(gs, "", "        "),
        *[line for k in gp for line in [f"        if {k}.shape[0] == 1:", *store([k], "0, ", "            ")]],
    ]  # fmt: skip
    count_b = len(rows)
    text = head + "\n".join(fwd) + "\n\n\n" + "\n".join(back) + "\n"
    return text.replace("ROWS_F", str(count_f)).replace("ROWS_B", str(count_b))


def _fingerprint(function: Any) -> bytes:
    """Code and closure constants of a cell function: a changed cell must not find its old compiled self."""
    cells = [repr(c.cell_contents) for c in (function.__closure__ or ()) if not callable(c.cell_contents)]
    return marshal.dumps(function.__code__) + repr(cells).encode()


def _cache_dir() -> Path | None:
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base).expanduser() / "spk_neurons_cells"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return folder if os.access(folder, os.W_OK) else None
    except OSError:
        return None


def compile_cell(cell: Step) -> tuple[Any, Any]:
    """The (forward, backward) kernels of a cell; compiled at first call, kept on disk where a cache is writable."""
    text = source(cell)
    digest = hashlib.sha256(
        text.encode()
        + _fingerprint(cell.forward)
        + _fingerprint(cell.backward)
        + f"{numba.__version__} {cpu_math.STAMP}".encode()
    ).hexdigest()[:24]
    folder = _cache_dir()
    # register_jitable leaves the caller's own function untouched: kernels call a copy
    space = {
        name: register_jitable(_copy(getattr(cell, attr))) for name, attr in (("fwd", "forward"), ("bwd", "backward"))
    }
    if folder is None:
        code = compile(text.replace("cache=True, ", ""), f"<spk_neurons cell {cell.name}>", "exec")
        exec(code, space)
        return space["forward"], space["backward"]
    path = folder / f"cell_{digest}.py"
    if not path.exists():
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with os.fdopen(handle, "w") as f:
            f.write(text)
        Path(temporary).replace(path)
    spec = importlib.util.spec_from_file_location(f"spk_neurons_cell_{digest}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(space)
    # numba finds the functions of a cached kernel again through the module's name
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.forward, module.backward


def _copy(f: Any) -> Any:
    return FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)


def _np(t: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = t.detach().contiguous().numpy()
    return array


def _rows(p: Tensor, n: int) -> Tensor:
    return p.reshape(1, 1).expand(1, n) if p.dim() == 0 else p


def forward(
    cell: Step, xs: list[Tensor], states: list[Tensor], params: list[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """xs [T, N], states [N], params 0-d or [1 or T, N] -> outputs [T, N], last states [N]."""
    steps, n = xs[0].shape
    last = [s.clone(memory_format=torch.contiguous_format) for s in states]
    outs = [torch.empty_like(xs[0], memory_format=torch.contiguous_format) for _ in range(cell.outputs)]
    arrays = [_np(t) for t in (*xs, *last, *(_rows(p, n) for p in params), *outs)]
    kernel = cell.compiled()[0]
    threads.run(lambda lo, hi: kernel(*arrays, steps, lo, hi), threads.parts(n, WIDTH, steps * n))
    return outs, last


def backward(
    cell: Step, xs: list[Tensor], states: list[Tensor], params: list[Tensor], go: list[Tensor], gs: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Gradients of inputs [T, N], initial states [N] and parameters [1 or T, N]."""
    steps, n = xs[0].shape
    rows = [_rows(p, n) for p in params]
    gx = [torch.empty_like(xs[0], memory_format=torch.contiguous_format) for _ in xs]
    carry = [g.clone(memory_format=torch.contiguous_format) for g in gs]
    gp = [torch.zeros(p.shape, dtype=xs[0].dtype) for p in rows]
    arrays = [_np(t) for t in (*xs, *states, *rows, *go)] + [t.numpy() for t in (*carry, *gx, *gp)]
    kernel = cell.compiled()[1]
    threads.run(lambda lo, hi: kernel(*arrays, steps, lo, hi), threads.parts(n, WIDTH, steps * n))
    return gx, carry, gp
