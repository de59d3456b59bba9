"""The leaky integrator."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spk_neurons import cells
from spk_neurons._checks import check_input
from spk_neurons.functional._common import Number, check_values, first_tensor, resolve
from spk_neurons.state import LIState


def li(
    x: Tensor,
    state: LIState | Tensor | None = None,
    *,
    tau: Number | None = None,
    decay: Number | None = None,
    gain: Number | None = None,
    decay_input: bool = True,
    return_state: bool = False,
    backend: str = "auto",
) -> Any:
    """Leaky integrator (a readout that never fires): v[t] = decay v[t-1] + gain x[t].

    Args: x [T, ...], state, tau, decay, gain, decay_input, backend as in :func:`lif`.
    Returns: v [T, ...], or (v, LIState).
    """
    check_input(x)
    lam, kap, _ = resolve(x, tau, decay, gain, 0.0, decay_input, 0.0, "none")
    check_values(decay=lam)
    v0 = first_tensor(state, x, 0.0)
    if x.shape[0] == 0:
        return (x.clone(), LIState(v0.clone())) if return_state else x.clone()
    (v,), (last,) = cells.li()([x], [v0], [lam, kap], backend=backend)
    return (v, LIState(last)) if return_state else v
