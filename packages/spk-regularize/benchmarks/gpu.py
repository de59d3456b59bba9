"""VGG-11 on CIFAR-10, T = 8, eps 8/255: the paper's columns with adapted attacks beside them, by a shortened recipe.

    python packages/spk-regularize/benchmarks/gpu.py --data FILE --variant h100 [--minutes N] [--out FOLDER]

The recipe is that of this line of work (SGD 0.1, momentum 0.9, weight decay 5e-4, cosine, crop and flip, penalties
ramped over the first half; adversarial training is PGD-2 at 2/255), cut to ``--epochs`` of ``--images`` training
images; clean accuracies are therefore below the paper's. Decay 0.5, hard reset, triangle, tdBN in front of every layer.
500 test images are attacked. Transfer comes from the network with the other eta. Each network is written when it is
finished. FILE is what ``packed.py`` wrote.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
import torch
from cells import CIFAR, PRESET, inner
from packed import unpack

from results import Results
from spk_regularize.data import ImageSet
from spk_regularize.models import build_model
from spk_regularize.robustness import AttackSpec, evaluate_robustness
from spk_regularize.training import RobustTrainer, TrainConfig

EPS = 8 / 255
PAPER = {  # clean, FGSM, PGD, BIM: without a regulariser, and with MPD-SGR
    ("clean", False): (92.49, 25.18, 0.88, 0.60),
    ("clean", True): (91.63, 47.59, 20.55, 16.85),
    ("at", False): (91.41, 45.00, 22.95, 20.80),
    ("at", True): (90.69, 59.27, 33.38, 32.61),
}
NETWORKS: dict[str, dict[str, Any]] = {
    "no AT, eta 0": {},
    "no AT, eta 3": {"regularizer": "mpd-sgr:eta=3"},
    "AT, eta 0": {"method": "at"},
    "AT, eta 3": {"method": "at", "regularizer": "mpd-sgr:eta=3"},
    "no AT, eta 10": {"regularizer": "mpd-sgr:eta=10"},
    "no AT, preset": {"regularizer": PRESET[0], "weight_decay": PRESET[1]},
}


def battery(steps: int, queries: int) -> list[AttackSpec]:
    """The paper's columns (7 steps of 0.01), then the adapted ones."""

    def adapted(name: str, kind: str, **options: Any) -> AttackSpec:
        return AttackSpec(name, kind, {"steps": steps, **options})

    return [
        AttackSpec("FGSM", "fgsm"),
        AttackSpec("PGD", "pgd", {"steps": 7, "alpha": 0.01, "keep": "last"}),
        AttackSpec("BIM", "bim", {"steps": 7, "alpha": 0.01, "keep": "last"}),
        adapted("PGD, more steps", "pgd"),
        adapted("wide", "pgd", grad="wide2"),
        adapted("ASSG", "pgd", grad="assg"),
        adapted("SA-PGD", "sapgd", grad="assg"),
        adapted("APGD-DLR", "apgd", grad="assg", loss="dlr"),
        AttackSpec("transfer", "transfer"),
        AttackSpec("Square", "square", {"queries": queries}),
    ]


class Study:
    """Networks trained so far, and where their figures go."""

    def __init__(self, args: argparse.Namespace, out: Results) -> None:
        self.args, self.out, self.device = args, out, torch.device("cuda" if torch.cuda.is_available() else "cpu")
        data = unpack(args.data)
        self.train = self.placed(data["train"].sample(args.images))
        self.test = self.placed(data["test"].sample(args.test))
        self.models: dict[str, torch.nn.Module] = {}
        self.seconds: dict[str, float] = {}

    def placed(self, data: ImageSet) -> ImageSet:
        """Images on the device."""
        return ImageSet(data.images.to(self.device), data.labels.to(self.device), data.classes, name=data.name)

    def fit(self, name: str) -> torch.nn.Module:
        """One network by the recipe."""
        if name not in self.models:
            start = time.perf_counter()
            model = build_model(self.args.model, shape=(3, 32, 32), steps=8, seed=0, **CIFAR).to(self.device)
            config = TrainConfig(
                epochs=self.args.epochs, batch_size=self.args.batch, flip=True, crop=4, eps=2 / 255, alpha=1 / 255,
                ramp=0.5, **NETWORKS[name],
            )  # fmt: skip
            result = RobustTrainer(model, config).fit(self.train)
            self.models[name], self.seconds[name] = model.eval(), time.perf_counter() - start
            print(f"{name}: trained in {self.seconds[name]:.0f} s, {result.last}", flush=True)
        return self.models[name]

    def measure(self, name: str) -> None:
        """Attack it, and write its rows."""
        model = self.fit(name)
        other = self.fit("no AT, eta 3" if name == "no AT, eta 0" else "no AT, eta 0")
        start = time.perf_counter()
        report = evaluate_robustness(
            model, self.test, EPS, battery=battery(self.args.steps, self.args.queries), sources=[other], n=None,
            masking=False, batch_size=250,
        )  # fmt: skip
        values = {"clean": 100 * report.clean_accuracy}
        values |= {attack: 100 * report.accuracy(attack, EPS) for attack in report.names}
        values["worst case"] = 100 * report.worst_case[EPS]
        look = inner(model, self.test)
        took = time.perf_counter() - start
        self.out.add_cell(f"vgg11: {name}", 0, values | look, seconds=self.seconds[name] + took)
        print(f"{name} ({took:.0f} s): " + "  ".join(f"{k} {v:.1f}" for k, v in values.items()), flush=True)
        print("  " + "  ".join(f"{k} {v:.3f}" for k, v in look.items()), flush=True)
        self.write(name, values, look)

    def write(self, name: str, values: dict[str, float], look: dict[str, float]) -> None:
        """A row per column, the paper's figure beside it."""
        method = NETWORKS[name].get("method", "clean")
        columns = ("clean", "FGSM", "PGD", "BIM")
        published = {} if "preset" in name else dict(zip(columns, PAPER[method, "eta 0" not in name], strict=True))
        recipe = f"{self.args.epochs} epochs of {len(self.train):,} images"
        told = ", ".join(f"{k} {look[k]:.2f}" for k in ("rate", "overlap", "gradient"))
        for column, value in values.items():
            note = f"{recipe}; {told}" if column == "worst case" else ""
            self.out.add(
                name=f"VGG-11, {name}", metric=column, unit="%", ours=value, reference=published.get(column), n=1,
                note=note, table="vgg11",
            )  # fmt: skip
        self.out.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the packed images")
    parser.add_argument("--out", type=Path, help="folder of the results file")
    parser.add_argument("--variant", default="gpu", help="part of the results file's name: the machine")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no network after so many minutes")
    parser.add_argument("--model", default="vgg11")
    parser.add_argument("--images", type=int, default=20000, help="training images")
    parser.add_argument("--test", type=int, default=500, help="test images attacked")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100, help="of the adapted attacks")
    parser.add_argument("--queries", type=int, default=1000, help="of Square")
    parser.add_argument("--only", default="", help="networks whose name holds this text")
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    # two equal calls must give equal logits
    torch.backends.cudnn.deterministic = True
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    out = Results(
        "spk-regularize", "reproduce", threads=1, resume=True, variant=args.variant, gpu=card, folder=args.out,
        command="python packages/spk-regularize/benchmarks/gpu.py",
    )  # fmt: skip
    study = Study(args, out)
    start = time.monotonic()
    for name in NETWORKS:
        if args.only not in name or out.has_cell(f"vgg11: {name}", 0):
            continue
        if time.monotonic() - start > 60 * args.minutes:
            break
        try:
            study.measure(name)
        except Exception:
            print(f"{name}: FAILED\n{traceback.format_exc()}", flush=True)


if __name__ == "__main__":
    main()
