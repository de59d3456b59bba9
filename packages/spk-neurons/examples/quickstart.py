"""Train a small spiking network on handwritten digits: three resets, two backends, one seed.

    python examples/quickstart.py --out demo

Prints test accuracy for each and checks that both backends give the same spikes. About 30 seconds on two cores.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from spk_neurons import LIF, encode, plot, record

STEPS, EPOCHS, BATCH = 8, 20, 64


def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    digits = load_digits()
    split = train_test_split(digits.data / 16, digits.target, test_size=0.25, random_state=0, stratify=digits.target)
    x_train, x_test, y_train, y_test = (torch.as_tensor(a) for a in split)
    return x_train.float(), x_test.float(), y_train.long(), y_test.long()


def network(reset: str, backend: str) -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 128), LIF(2.0, reset=reset, backend=backend), nn.Linear(128, 10))


def train(reset: str, backend: str, seed: int = 0) -> tuple[nn.Sequential, float, Tensor]:
    """The trained network, its test accuracy, and its hidden spikes on the test set."""
    torch.manual_seed(seed)
    x_train, x_test, y_train, y_test = data()
    net = network(reset, backend)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x_train)).split(BATCH):
            logits = net(encode.constant(3 * x_train[batch], STEPS)).mean(0)
            optimiser.zero_grad()
            nn.functional.cross_entropy(logits, y_train[batch]).backward()
            optimiser.step()
    with torch.no_grad(), record(net, "s") as rec:
        answer = net(encode.constant(3 * x_test, STEPS)).mean(0).argmax(1)
    return net, (answer == y_test).double().mean().item(), rec["1"].s


def figures(net: nn.Sequential, out: Path) -> None:
    x = encode.constant(3 * data()[1][:1], 40)
    with torch.no_grad(), record(net, "s", "h") as rec:
        net(x)
    plot.raster(rec["1"].s[:, 0]).figure.savefig(out / "raster.png", dpi=120)
    trace = plot.membrane(rec["1"].h[:, 0], surrogate=net[1].surrogate, spikes=rec["1"].s[:, 0])
    trace.figure.savefig(out / "membrane.png", dpi=120)
    plot.potential_histogram(rec["1"].h, surrogate=net[1].surrogate).figure.savefig(out / "potentials.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for figures and result.json")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # layers this small only lose by more
    start = time.perf_counter()
    accuracy: dict[str, float] = {}
    equal = True
    for reset in ("hard", "soft", "none"):
        spikes = {}
        for backend in ("numba", "torch"):
            net, score, spikes[backend] = train(reset, backend)
            accuracy[f"{reset}/{backend}"] = score
            print(
                f"reset={reset:<5} backend={backend:<6} test accuracy {score:.3f}   "
                f"{time.perf_counter() - start:5.1f} s",
                flush=True,
            )
            if (reset, backend) == ("hard", "numba"):
                figures(net, out)
        equal = equal and torch.equal(spikes["numba"], spikes["torch"])
    same = torch.equal(train("hard", "numba")[2], train("hard", "numba")[2])
    seconds = time.perf_counter() - start
    print(
        f"two runs with one seed give equal spikes: {same}; numba and torch give equal spikes after training: {equal}"
    )
    low = min(accuracy.values())
    result = {
        "system": "spiking neurons for PyTorch",
        "ran": f"digits, {STEPS} steps, {EPOCHS} epochs, three resets x two backends",
        "result": f"test accuracy {low:.3f} to {max(accuracy.values()):.3f}; equal spikes for equal seeds: {same}",
        "seconds": round(seconds, 1),
    }
    temporary = out / "result.json.tmp"
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    temporary.replace(out / "result.json")
    print(f"figures and result.json are in {out}/")


if __name__ == "__main__":
    main()
