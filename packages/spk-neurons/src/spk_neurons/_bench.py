"""Interleaved timing of LIF forward + backward: our backends and whichever peers are installed, in one process."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spk_neurons import functional as F
from spk_neurons._kernels.backends import why_not

Run = Callable[[Tensor, Tensor], None]


def _ours(backend: str) -> Run:
    def run(x: Tensor, g: Tensor) -> None:
        s: Any = F.lif(x, tau=2.0, backend=backend)
        s.backward(g)

    return run


def _spikingjelly() -> Run:
    neuron = importlib.import_module("spikingjelly.activation_based.neuron")
    functional = importlib.import_module("spikingjelly.activation_based.functional")
    surrogate = importlib.import_module("spikingjelly.activation_based.surrogate")
    node = neuron.LIFNode(tau=2.0, step_mode="m", surrogate_function=surrogate.ATan())

    def run(x: Tensor, g: Tensor) -> None:
        functional.reset_net(node)
        node(x).backward(g)

    return run


def _snntorch() -> Run:
    snn = importlib.import_module("snntorch")
    surrogate = importlib.import_module("snntorch.surrogate")
    leaky = snn.Leaky(beta=0.5, reset_mechanism="zero", spike_grad=surrogate.atan())

    def run(x: Tensor, g: Tensor) -> None:
        mem = leaky.init_leaky()
        spikes = []
        for xt in x.unbind(0):
            s, mem = leaky(xt, mem)
            spikes.append(s)
        out: Any = torch.stack(spikes)
        out.backward(g)

    return run


def _norse() -> Run:
    box = importlib.import_module("norse.torch.functional.lif_box")
    p = box.LIFBoxParameters(tau_mem_inv=torch.tensor(500.0))

    def run(x: Tensor, g: Tensor) -> None:
        state = box.LIFBoxFeedForwardState(v=torch.zeros_like(x[0]))
        spikes = []
        for xt in x.unbind(0):
            s, state = box.lif_box_feed_forward_step(xt, state, p, dt=0.001)
            spikes.append(s)
        out: Any = torch.stack(spikes)
        out.backward(g)

    return run


def _sinabs() -> Run:
    layers = importlib.import_module("sinabs.layers")
    activation = importlib.import_module("sinabs.activation")
    node = layers.LIF(tau_mem=1.4427, spike_fn=activation.SingleSpike, reset_fn=activation.MembraneReset())

    def run(x: Tensor, g: Tensor) -> None:
        node.reset_states()
        node(x.transpose(0, 1).unsqueeze(0) if x.dim() == 1 else x.unsqueeze(0)).squeeze(0).backward(g)

    return run


PEERS: dict[str, Callable[[], Run]] = {
    "SpikingJelly LIFNode": _spikingjelly,
    "snnTorch Leaky (unbind)": _snntorch,
    "Norse LIFBox (unbind)": _norse,
    "sinabs LIF": _sinabs,
}


def runners(peers: bool = True) -> dict[str, Run]:
    """Name -> one forward and backward pass, for every backend that runs here and every installed peer."""
    found: dict[str, Run] = {
        f"spk-neurons {name}": _ours(name)
        for name in ("numba", "torch", "reference")
        if why_not(name, torch.device("cpu"), torch.float32) is None
    }
    for name, make in PEERS.items() if peers else ():
        try:
            found[name] = make()
        except ImportError:
            continue
    return found


def clock(threads: int) -> Callable[[], float]:
    """CPU time where one thread works, which other programs on the machine do not stretch; else the wall's."""
    return time.process_time if threads == 1 else time.perf_counter


def floor_ms(elements: int, rounds: int, now: Callable[[], float]) -> float:
    """Five streams of float32 at the copy bandwidth measured now (a copy moves two)."""
    a, b = torch.empty(elements), torch.rand(elements)
    times = []
    for _ in range(rounds + 2):
        start = now()
        a.copy_(b)
        times.append(now() - start)
    return 2.5e3 * statistics.median(times[2:])


def compare(
    steps: int, neurons: int, *, rounds: int = 7, threads: int = 1, peers: bool = True, warm_up: int = 2
) -> list[dict[str, Any]]:
    """Rows {name, milliseconds, spread}, the floor first. Implementations take turns within each round.

    Milliseconds are of CPU time on one thread, of wall time on several; the median of the rounds.
    """
    before, now = torch.get_num_threads(), clock(threads)
    torch.set_num_threads(threads)
    try:
        g = torch.Generator().manual_seed(0)
        x = nn.Parameter(torch.randn((steps, neurons), generator=g) + 0.5)
        grad = torch.randn((steps, neurons), generator=g)
        runs = runners(peers)
        times: dict[str, list[float]] = {name: [] for name in runs}
        floors = []
        for i in range(rounds + warm_up):
            floors.append(floor_ms(steps * neurons, 3, now))
            for name, run in runs.items():
                x.grad = None
                start = now()
                run(x, grad)
                elapsed = 1e3 * (now() - start)
                if i >= warm_up:
                    times[name].append(elapsed)
    finally:
        torch.set_num_threads(before)
    rows: list[dict[str, Any]] = [{"name": "bandwidth floor", "milliseconds": statistics.median(floors), "spread": 0.0}]
    for name, values in times.items():
        low, high = min(values), max(values)
        rows.append(
            {
                "name": name,
                "milliseconds": statistics.median(values),
                "spread": (high - low) / statistics.median(values),
            }
        )
    return rows
