"""The research bar: TeCoS against both LNs, the GLM and the CRNN on two generators, and the tables of recordings.

    python packages/tecos-lvm/benchmarks/reproduce.py [--minutes N] [--only TEXT] [--list]

A queue of cells (what, seed), the headline comparison first; each is written as soon as it is done, and a stopped
queue goes on where it was. Weights are chosen on the validation movie; the test movie is scored once per cell. Seeds
11 to 13 were not used while the recipe was chosen.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
import numpy as np
import torch

from results import Results
from tecos_lvm import TeCoSConfig, TeCoSLVM, TrainConfig, fit, metrics
from tecos_lvm.baselines import CRNN, LNModel, PoissonGLM
from tecos_lvm.datasets import load_onken, make_nonlinear_retina, make_retina

SEEDS = (11, 12, 13)
MODELS = ("TeCoS", "LN softplus", "LN exp", "GLM", "TeCoS, no memory", "CRNN")
STEPS = 1000
RECORDINGS = ("Movie1Exp1", "Movie1Exp2", "Movie2Exp1")
# specification, section 3: odd/even correlation at 33.3 and 10 ms, and statistics at 5 ms (real, PSTH-Bernoulli)
CEILINGS = {"Movie1Exp1": (0.9041, 0.7690), "Movie1Exp2": (0.9592, 0.8467), "Movie2Exp1": (0.9193, 0.8032)}


@lru_cache(maxsize=1)
def data(generator: str, seed: int) -> Any:
    make = make_retina if generator == "retina" else make_nonlinear_retina
    return make(seed=seed)


def model(name: str, generator: str, retina: Any, seed: int) -> Any:
    train, val = retina.train, retina.val
    if name.startswith("TeCoS"):
        torch.manual_seed(seed)
        wide = {} if generator == "retina" else {"feature_dim": 96, "hidden_dim": 96, "decoder_dim": 256}
        config = TeCoSConfig(
            train.stimulus.shape[1:],
            train.n_neurons,
            train.dt_ms,
            memory="none" if "no memory" in name else "cascade",
            **wide,
        )
        found = TeCoSLVM(config)
        steps = STEPS // 3 if "no memory" in name else STEPS
        fit(found, train, val, config=TrainConfig(steps=steps, seed=seed), progress=True)
        return found
    if name == "CRNN":
        return CRNN(epochs=1, batch=256, seed=seed, window=30).fit(train, val)
    options: dict[str, Any] = {"epochs": 4, "seed": seed, "lr": 1e-2}
    if name == "GLM":
        return PoissonGLM(**options).fit(train, val)
    return LNModel(output=name.split()[1], **options).fit(train, val)


def score(found: Any, retina: Any) -> dict[str, float]:
    """Everything that the tables show, on the test movie."""
    test = retina.test
    skip = int(300 / test.dt_ms)
    p = found.predict_p(test.stimulus, 20)
    cc = metrics.pearson(metrics.smooth(p, test.dt_ms)[skip:], metrics.smooth(test.psth, test.dt_ms)[skip:])
    ceiling = metrics.ceiling_sb(metrics.split_half(test.spikes, test.dt_ms, skip=skip, splits=20))
    bits = metrics.bits_per_spike(
        found.log_likelihood(test.stimulus, test.spikes[:10]), test.spikes[:10], retina.train.spikes.mean(axis=(0, 1))
    )
    own = found.generate(test.stimulus, 20)
    real = metrics.autocorrelogram(test.spikes)
    return {
        "cc": float(np.nanmean(cc)),
        "ceiling": float(np.nanmean(ceiling)),
        "fraction": float(np.nanmean(cc) / np.nanmean(ceiling)),
        "bits": float(np.nanmean(bits)),
        "rate_ratio": float(own.mean() / test.spikes.mean()),
        "isi_ks": float(np.nanmean(metrics.isi_ks(own, test.spikes))),
        "acg_rmse": float(np.nanmean(np.sqrt(((metrics.autocorrelogram(own) - real) ** 2).mean(axis=1)))),
    }


def recording_rows(out: Results) -> None:
    """Ceilings of the paper's recordings, recomputed (no model)."""
    folder = os.environ.get("SPK_DATA")
    if not folder:
        return
    for name in RECORDINGS:
        recording = load_onken(Path(folder) / "retina" / f"{name}.mat")
        for dt, known in zip((100 / 3, 10.0), CEILINGS[name], strict=True):
            found = float(np.nanmean(metrics.split_half(recording.counts(dt), dt, sd_ms=0)))
            out.add(
                name=f"{name}, {dt:.3g} ms",
                metric="odd/even correlation",
                unit=None,
                ours=found,
                reference=known,
                ratio=found / known,
                target="to 0.0001",
                met=abs(found - known) < 1e-4,
                n=1,
                table="ceilings",
                note="spike counts, mean over neurons; reference: an earlier computation from the same file, "
                "whose bin edges are not stated",
            )


def rows(out: Results) -> None:
    """Rows from all cells done so far."""
    for generator in ("retina", "nonlinear"):
        for name in MODELS:
            key = f"{generator}, {name}"
            fractions = out.values(key, "fraction")
            if not fractions:
                continue
            mean = {
                k: statistics.fmean(out.values(key, k))
                for k in ("cc", "ceiling", "bits", "isi_ks", "acg_rmse", "rate_ratio")
            }
            target, met = goal(out, generator, name)
            out.add(
                name=key,
                metric="share of the ceiling",
                unit=None,
                ours=statistics.fmean(fractions),
                target=target,
                met=met,
                n=len(fractions),
                spread=statistics.stdev(fractions) if len(fractions) > 1 else None,
                table=generator,
                note=f"CC {mean['cc']:.3f} of {mean['ceiling']:.3f}; {mean['bits']:.2f} bits/spike; "
                f"ISI KS {mean['isi_ks']:.3f}; "
                f"autocorrelogram RMSE {mean['acg_rmse']:.4f}; rate x{mean['rate_ratio']:.2f}",
            )
    recording_rows(out)


def goal(out: Results, generator: str, name: str) -> tuple[str | None, bool | None]:
    """The issue's targets, judged on every seed done by both."""
    ours = paired(out, generator, "TeCoS")
    if name == "TeCoS" and generator == "retina":
        exp, soft = paired(out, generator, "LN exp"), paired(out, generator, "LN softplus")
        met = all(f >= 0.93 for f, _ in ours.values())
        met = met and all(ours[s][1] >= exp[s][1] + 0.05 for s in ours if s in exp)
        met = met and all(ours[s][1] >= soft[s][1] - 0.04 for s in ours if s in soft)
        return ">= 0.93 of the ceiling, >= LN exp + 0.05, within 0.04 of LN softplus, every seed", met
    if name == "TeCoS":
        others = [paired(out, generator, other) for other in ("LN exp", "LN softplus", "GLM")]
        met = all(ours[s][1] >= other[s][1] + 0.05 for other in others for s in ours if s in other)
        return ">= both LNs and the GLM + 0.05, every seed", met
    if name.startswith("LN") and generator == "nonlinear":
        return "<= 0.80: outside the LN class", all(f <= 0.8 for f, _ in paired(out, generator, name).values())
    if name == "TeCoS, no memory":
        none = paired(out, generator, name)
        return "loses >= 0.1", all(ours[s][1] >= none[s][1] + 0.1 for s in none if s in ours)
    return None, None


def paired(out: Results, generator: str, name: str) -> dict[int, tuple[float, float]]:
    key = f"{generator}, {name}"
    done = [s for s in SEEDS if out.has_cell(key, s)]
    return {s: (f, c) for s, f, c in zip(done, out.values(key, "fraction"), out.values(key, "cc"), strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=None, help="start no cell after so many minutes")
    parser.add_argument("--only", default="", help="cells whose name holds this text")
    parser.add_argument("--list", action="store_true", help="show the queue and what is done")
    options = parser.parse_args()
    torch.set_num_threads(1)
    first = [(g, m, s) for g in ("retina", "nonlinear") for s in SEEDS for m in MODELS[:3]]
    rest = [(g, m, s) for m in MODELS[3:] for g in ("retina", "nonlinear") for s in SEEDS]
    out = Results(
        "tecos-lvm", "reproduce", threads=1, resume=True, command="python packages/tecos-lvm/benchmarks/reproduce.py"
    )
    start = time.perf_counter()
    for generator, name, seed in [*first, *rest]:
        key = f"{generator}, {name}"
        if options.only not in key:
            continue
        if options.list:
            print(f"{key}, seed {seed}: {'done' if out.has_cell(key, seed) else 'open'}")
            continue
        if out.has_cell(key, seed):
            continue
        if options.minutes is not None and time.perf_counter() - start > 60 * options.minutes:
            break
        begin = time.perf_counter()
        retina = data(generator, seed)
        values = score(model(name, generator, retina, seed), retina)
        out.add_cell(key, seed, values, seconds=time.perf_counter() - begin)
        print(f"{key}, seed {seed}: {values} ({time.perf_counter() - begin:.0f} s)", flush=True)
    if not options.list:
        rows(out)
        out.write()


if __name__ == "__main__":
    main()
