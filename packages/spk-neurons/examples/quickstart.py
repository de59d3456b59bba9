"""Train a small spiking network on handwritten digits: three resets, two backends, one seed.

    python examples/quickstart.py --out demo

Prints the test accuracy of each, checks that both backends and two runs of one seed give the same spikes, and draws
what the network does. Under 30 seconds on two cores, compiling included.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from spk_neurons import LIF, encode, firing_rates, plot, record

# chosen on a part of the training data; the test set is looked at once per network
STEPS, EPOCHS, BATCH, RATE, CURRENT = 8, 10, 64, 1e-2, 3.0
SHOWN = 5  # the test digit of the figure


class Data(NamedTuple):
    """Pixels in [0, 1], [N, 64], and labels."""

    x_train: Tensor
    x_test: Tensor
    y_train: Tensor
    y_test: Tensor


class Trained(NamedTuple):
    """A network, its loss per step of training, its test accuracy and its hidden spikes on the test set."""

    net: nn.Sequential
    losses: list[float]
    accuracy: float
    spikes: Tensor


def read() -> Data:
    digits = load_digits()
    split = train_test_split(digits.data / 16, digits.target, test_size=0.25, random_state=0, stratify=digits.target)
    x_train, x_test, y_train, y_test = (torch.as_tensor(a) for a in split)
    return Data(x_train.float(), x_test.float(), y_train.long(), y_test.long())


def code(x: Tensor, steps: int = STEPS) -> Tensor:
    """Pixels as a constant current, [T, B, 64]."""
    return encode.constant(CURRENT * x, steps)


def train(data: Data, reset: str, backend: str, seed: int = 0) -> Trained:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(64, 128), LIF(2.0, reset=reset, backend=backend), nn.Linear(128, 10))
    batches = -(-len(data.x_train) // BATCH)
    optimiser = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * batches)
    losses = []
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(data.x_train)).split(BATCH):
            loss = nn.functional.cross_entropy(net(code(data.x_train[batch])).mean(0), data.y_train[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
    with torch.no_grad(), record(net, "s") as rec:
        answer = net(code(data.x_test)).mean(0).argmax(1)
    return Trained(net, losses, (answer == data.y_test).double().mean().item(), rec["1"].s)


def inside(trained: Trained, data: Data, path: Path) -> None:
    """What one digit does in the hidden layer: spikes, potentials, and how they spread over the test set."""
    net, steps = trained.net, 40
    digit, label = data.x_test[SHOWN], int(data.y_test[SHOWN])
    with torch.no_grad(), record(net, "s", "h") as one:
        logits = net(code(digit[None], steps))[:, 0]
    with torch.no_grad(), record(net, "h") as all_of_them:
        net(code(data.x_test))
    s, h = one["1"].s[:, 0], one["1"].h[:, 0]
    rates = s.mean(0)
    by_rate = rates.argsort(descending=True)
    # a neuron each that fires about every second, third and fifth step
    three = torch.stack([(rates - 1 / period).abs().argmin() for period in (2, 3, 5)])
    shape = net[1].surrogate
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    (image, raster, answer), (left, middle, potentials) = figure.subplots(2, 3, width_ratios=(1, 2.2, 1.6))
    image.imshow(digit.reshape(8, 8).numpy(), cmap="gray_r")
    image.set(title=f"a test digit: {label}", xticks=[], yticks=[])
    plot.raster(s[:, by_rate], ax=raster)
    raster.set(title="hidden spikes, most active below", ylim=(-1, int((rates > 0).sum()) + 1))
    mean = logits.cumsum(0) / torch.arange(1, steps + 1)[:, None]
    for number, line in enumerate(mean.T):
        right = number == label
        answer.plot(line.numpy(), lw=2.5 if right else 1, color="tab:blue" if right else "0.75")
    answer.set(title="mean output so far (blue: the label)", xlabel="time step")
    left.remove()
    middle.remove()
    wide = figure.add_subplot(2, 3, (4, 5))
    plot.membrane(h[:, three], surrogate=shape, spikes=s[:, three], ax=wide)
    wide.set_title("three hidden potentials before the reset; dots are spikes")
    plot.potential_histogram(all_of_them["1"].h, surrogate=shape, ax=potentials, bins=120)
    potentials.set(title="all potentials, whole test set", xlim=(-5, 4))
    figure.savefig(path, dpi=120)


def learning(curves: dict[str, list[float]], accuracy: dict[str, float], path: Path) -> None:
    """Loss per step for the three resets."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    ax = figure.add_subplot()
    for reset, losses in curves.items():
        smooth = torch.tensor(losses).unfold(0, 11, 1).mean(1).numpy()
        ax.semilogy(range(5, 5 + len(smooth)), smooth, label=f"{reset}: {100 * accuracy[reset]:.1f} % on the test set")
    ax.set(xlabel="step of training", ylabel="cross-entropy (mean of 11 steps)", title="Digits, one hidden LIF layer")
    ax.legend(title="reset")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for figures and result.json")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # layers this small only lose by more
    start = time.perf_counter()
    data, equal, same = read(), True, True
    curves: dict[str, list[float]] = {}
    accuracy: dict[str, float] = {}
    for reset in ("hard", "soft", "none"):
        spikes = {}
        for backend in ("numba", "torch"):
            trained = train(data, reset, backend)
            spikes[backend], curves[reset], accuracy[reset] = trained.spikes, trained.losses, trained.accuracy
            seconds = time.perf_counter() - start
            print(
                f"reset={reset:<5} backend={backend:<6} test accuracy {trained.accuracy:.3f}   {seconds:5.1f} s",
                flush=True,
            )
            if (reset, backend) == ("hard", "numba"):
                rate = firing_rates(trained.net, code(data.x_test))["1"]
                inside(trained, data, out / "inside.png")
                same = torch.equal(spikes["numba"], train(data, reset, backend).spikes)
        equal = equal and torch.equal(spikes["numba"], spikes["torch"])
    learning(curves, accuracy, out / "learning.png")
    seconds = time.perf_counter() - start
    print(f"two runs of one seed give equal spikes: {same}; numba and torch do, after training too: {equal}")
    print(f"hidden neurons fire in {100 * rate:.0f} % of the steps (hard reset)")
    low, high = min(accuracy.values()), max(accuracy.values())
    result = {
        "system": "spiking neurons for PyTorch",
        "ran": f"digits, {STEPS} steps, {EPOCHS} epochs, three resets x two backends",
        "result": f"test accuracy {low:.3f} to {high:.3f}; equal spikes for equal seeds: {same}, on both: {equal}",
        "seconds": round(seconds, 1),
    }
    temporary = out / "result.json.tmp"
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    temporary.replace(out / "result.json")
    print(f"figures and result.json are in {out}/")


if __name__ == "__main__":
    main()
