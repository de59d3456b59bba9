"""Signs in events and frames: what each modality can know, what fusion knows, and where it looks.

    python examples/quickstart.py --out demo

Generates paired signs whose ceilings are known, asks the diagnostics whether they need time, trains a network on
events, on frames, and on both with cross-modality attention, prints results against ceilings, and draws. Under a
minute on two cores.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from slr_cma import CMANet, PairedSign, TrainConfig, collate, plot, predict, train
from slr_cma.diagnostics import temporal_report

EPOCHS, BATCH, RATE = 12, 50, 8e-3


def fit(fusion: str, data: PairedSign, seed: int = 0) -> CMANet:
    """A small network for one way of fusing, trained on ``data``."""
    torch.manual_seed(seed)
    net = CMANet(data.n_classes, size=(12, 12), channels=(8, 16), hidden=64, fusion=fusion)
    train(net, data.arrays(), None, TrainConfig(EPOCHS, BATCH, RATE, schedule="onecycle", seed=seed))
    return net


def accuracy(net: CMANet, data: PairedSign) -> float:
    """Share of right answers."""
    logits, labels = predict(net, data.arrays())
    return float((logits.argmax(1) == labels).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for figures and result.json")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # layers this small only lose by more
    start = time.perf_counter()
    signs, unseen = PairedSign(400, seed=1), PairedSign(300, seed=2)
    plot.filmstrip(signs[0], title="a generated sign").savefig(out / "sign.png", dpi=120)

    report = temporal_report(unseen.events, unseen.orders, groups=range(300), tiers=(0, 1), n_perm=100)
    report.to_html(out / "needs-time.html")
    print(report.sentence)

    results, nets = {}, {}
    for name, fusion in (("events", "events"), ("frames", "frames"), ("both", "cma")):
        nets[name] = fit(fusion, signs)
        results[name] = accuracy(nets[name], unseen)
        seconds = time.perf_counter() - start
        print(
            f"{name:<7} accuracy {results[name]:.3f}, ceiling {unseen.ceilings[name]:.3f}   {seconds:5.1f} s",
            flush=True,
        )

    batch = collate([unseen[0]])
    scores = nets["both"].eval().attention_scores(batch.events, batch.frames)["1"]
    plot.attention(unseen[0], scores, title="scores of the last stage").savefig(out / "attention.png", dpi=120)
    seconds = time.perf_counter() - start
    told = ", ".join(f"{name} {results[name]:.3f} (ceiling {unseen.ceilings[name]:.3f})" for name in results)
    result = {
        "system": "signs from events and frames",
        "ran": f"{len(signs)} generated signs, {EPOCHS} epochs, three networks; temporal-correlation report",
        "result": f"accuracy: {told}; TCI of the order {report.tci:.2f}",
        "seconds": round(seconds, 1),
    }
    temporary = out / "result.json.tmp"
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    temporary.replace(out / "result.json")
    print(f"figures, the report and result.json are in {out}/")


if __name__ == "__main__":
    main()
