"""Fit a small generated population, draw rasters and the report.

    python examples/quickstart.py --out demo

Cells are generated (make_retina), so the true rate is known; nothing here is a result on a retina.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from matplotlib.figure import Figure

from tecos_lvm import TeCoSConfig, TeCoSLVM, TrainConfig, fit, plot, write_report
from tecos_lvm.datasets import make_retina


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for figures and result.json")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.perf_counter()
    retina = make_retina(n_neurons=6, size=10, train_s=120, val_s=8, test_s=8, val_trials=10, test_trials=20)
    model = TeCoSLVM(TeCoSConfig((10, 10), 6, feature_dim=32, hidden_dim=48))
    fit(model, retina.train, retina.val, config=TrainConfig(steps=150, weight_decay=1.0, checks=3))
    test = retina.test
    found = write_report(out / "report.html", model, test, retina.train.spikes.mean(axis=(0, 1)))
    print(found.report.table())
    figure = Figure(figsize=(10, 7), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1)
    plot.raster(test.spikes, found.trials, test.dt_ms, ax=top)
    plot.psth(test.spikes, found.p, test.dt_ms, ax=middle)
    plot.autocorrelogram(test.spikes, found.trials, test.dt_ms, ax=bottom)
    figure.savefig(out / "population.png", dpi=120)
    result = {
        "system": "TeCoS-LVM: spike trains from the stimulus",
        "ran": "6 generated cells, 2 min of movie, 150 steps",
        "result": f"rate correlation {found.scores['cc']:.2f} of {found.scores['ceiling']:.2f}, "
        f"{found.scores['bits_per_spike']:.2f} bits/spike",
        "seconds": round(time.perf_counter() - start, 1),
    }
    temporary = out / "result.json.tmp"
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    temporary.replace(out / "result.json")
    print(f"{result['result']}; {result['seconds']} s; report.html, figures and result.json are in {out}/")


if __name__ == "__main__":
    main()
