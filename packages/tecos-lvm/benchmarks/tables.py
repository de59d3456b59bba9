"""Rows of ``reproduce.json`` from its cells: the research bar, spike statistics, lengths. No model runs here."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from results import Results

LENGTHS = ("0.5", "1", "2", "4", "8", "16")
GENERATORS = ("retina", "nonlinear")
MODELS = ("TeCoS", "LN softplus", "LN exp", "GLM", "CNN", "CRNN", "TeCoS, no memory", "TeCoS, deterministic",
          "TeCoS, standard prior")  # fmt: skip


class Cells:
    """Values of cells by seed."""

    def __init__(self, out: Results, seeds: Sequence[int]) -> None:
        self.out, self.seeds = out, seeds

    def of(self, generator: str, model: str, metric: str) -> dict[int, float]:
        key = f"{generator}, {model}"
        done = [s for s in self.seeds if self.out.has_cell(key, s)]
        values = self.out.values(key, metric)
        return dict(zip(done, values, strict=True)) if len(values) == len(done) else {}

    def mean(self, generator: str, model: str, metric: str) -> float | None:
        values = list(self.of(generator, model, metric).values())
        return statistics.fmean(values) if values else None

    def margins(self, generator: str, a: str, b: str, metric: str = "cc") -> list[float]:
        """a - b on the seeds that both have."""
        x, y = self.of(generator, a, metric), self.of(generator, b, metric)
        return [x[s] - y[s] for s in x if s in y]


def fill(out: Results, seeds: Sequence[int]) -> None:
    """All rows that the cells done so far allow."""
    cells = Cells(out, seeds)
    for generator in GENERATORS:
        for model in MODELS:
            correlation(out, cells, generator, model)
        bars(out, cells, generator)
        spike_statistics(out, cells, generator)
        lengths(out, cells, generator)


def correlation(out: Results, cells: Cells, generator: str, model: str) -> None:
    share = list(cells.of(generator, model, "cc_normalised").values())
    if not share:
        return
    found = {m: cells.mean(generator, model, m) for m in ("cc", "ceiling", "fev")}
    bits = cells.mean(generator, model, "bits_per_spike")
    out.add(
        name=model, metric="correlation / ceiling", ours=statistics.fmean(share), n=len(share),
        spread=statistics.stdev(share) if len(share) > 1 else None, table=generator,
        note=f"CC {found['cc']:.3f}, FEV {found['fev']:.2f}, "
        + (f"{bits:.2f} bits/spike" if bits is not None else "no likelihood"),
    )  # fmt: skip


def bars(out: Results, cells: Cells, generator: str) -> None:
    """The issue's lines; each must hold on every seed, so the row shows the worst."""

    def bar(name: str, values: list[float], target: str, holds: Callable[[float], bool], worst: Callable[..., float],
            metric: str = "difference in CC, worst seed") -> None:  # fmt: skip
        if values:
            out.add(
                name=name, metric=metric, ours=worst(values), target=target, met=all(map(holds, values)),
                n=len(values), table=f"{generator} bar", note=f"mean {statistics.fmean(values):.3f}",
            )  # fmt: skip

    share = list(cells.of(generator, "TeCoS", "cc_normalised").values())
    if generator == "retina":
        bar("TeCoS, share of the ceiling", share, ">= 0.93", lambda v: v >= 0.93, min, "worst seed")
        bar("TeCoS over LN exp", cells.margins(generator, "TeCoS", "LN exp"), ">= 0.05", lambda v: v >= 0.05, min)
        bar("TeCoS over LN softplus (the true model)", cells.margins(generator, "TeCoS", "LN softplus"), ">= -0.04",
            lambda v: v >= -0.04, min)  # fmt: skip
    else:
        bar("LN softplus, share of the ceiling", list(cells.of(generator, "LN softplus", "cc_normalised").values()),
            "< 0.80: outside the LN class", lambda v: v < 0.8, max, "worst seed")  # fmt: skip
        for other in ("LN softplus", "LN exp", "GLM"):
            bar(f"TeCoS over {other}", cells.margins(generator, "TeCoS", other), ">= 0.05", lambda v: v >= 0.05, min)
    bar("TeCoS over itself without memory", cells.margins(generator, "TeCoS", "TeCoS, no memory"), ">= 0.1",
        lambda v: v >= 0.1, min)  # fmt: skip
    for other in ("LN softplus", "LN exp", "GLM"):
        bar(f"bits per spike, TeCoS over {other}", cells.margins(generator, "TeCoS", other, "bits_per_spike"), "> 0",
            lambda v: v > 0, min, "bits, worst seed")  # fmt: skip


def spike_statistics(out: Results, cells: Cells, generator: str) -> None:
    for measure in ("ISI KS", "autocorrelogram RMSE", "MMD"):
        for model in MODELS:
            own = list(cells.of(generator, model, f"{measure}, model").values())
            rate = cells.mean(generator, model, f"{measure}, rate")
            real = cells.mean(generator, model, f"{measure}, real")
            if not own or rate is None or real is None:
                continue
            below = [a < b for a, b in zip(own, cells.of(generator, model, f"{measure}, rate").values(), strict=True)]
            out.add(
                name=model, metric=measure, ours=statistics.fmean(own), peer=("best possible rate model", rate),
                target="below the best possible rate model" if model == "TeCoS" else None,
                met=all(below) if model == "TeCoS" else None, n=len(own),
                spread=statistics.stdev(own) if len(own) > 1 else None, table=f"{generator} spikes",
                note=f"another real trial {real:.4f}",
            )  # fmt: skip


def lengths(out: Results, cells: Cells, generator: str) -> None:
    """CC and rate by the age of the state; the film before a stretch, from the rested state, is 0.25 s or 2 s long."""
    for warm, after in (("0.25 s", ""), ("2 s", " after 2 s")):
        short = cells.of(generator, "TeCoS", f"cc at 0.5 s{after}")
        long = cells.of(generator, "TeCoS", f"cc at 16 s{after}")
        drift = list(cells.of(generator, "TeCoS", f"rate drift{after}").values())
        if not short or not drift:
            continue
        name = f"{generator}, {warm} of film before"
        share = [long[s] / short[s] for s in long]
        out.add(
            name=name, metric="CC at 16 s / CC at 0.5 s", ours=min(share), target=">= 0.95 on every seed",
            met=min(share) >= 0.95, n=len(share), table="length", note=curve(cells, generator, "cc", after),
        )  # fmt: skip
        out.add(
            name=name, metric="largest drift of the rate over 0.5 to 16 s", ours=max(drift),
            target="< 0.05 on every seed", met=max(drift) < 0.05, n=len(drift), table="length",
            note=curve(cells, generator, "rate", after),
        )  # fmt: skip


def curve(cells: Cells, generator: str, what: str, after: str) -> str:
    """Means over the seeds at every length."""
    found = [cells.mean(generator, "TeCoS", f"{what} at {s} s{after}") for s in LENGTHS]
    told = {"cc": "CC", "rate": "rate over the recorded"}[what]
    return f"{told} at {', '.join(LENGTHS)} s: " + ", ".join(f"{v:.3f}" for v in found if v is not None)
