"""One page about one model: scores, spike statistics between floor and ceiling, pictures. No other file is needed."""

from __future__ import annotations

import base64
import html
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from tecos_lvm import plot
from tecos_lvm.datasets.files import write_bytes
from tecos_lvm.evaluate import Evaluation, examine, length_curve
from tecos_lvm.model import TeCoSLVM
from tecos_lvm.recording import SpikeDataset

__all__ = ["write_report"]

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .9em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}img{max-width:100%}.n{color:#666;font-size:90%}"""


def write_report(
    path: str | Path, model: Any, data: SpikeDataset, null_p: Any, *, neurons: int = 3, n_samples: int = 20,
    title: str = "Spike trains: model and recording",
) -> Evaluation:  # fmt: skip
    """Write one self-contained HTML page; returns what it shows.

    Args:
        path: ends in .html. model: a TeCoSLVM or a baseline. data: repeated trials with their stimulus.
        null_p: mean spike probability per bin of the training data, [N]. neurons: how many to draw, the best,
            the median and the worst first. n_samples: trials drawn from the model. title: of the page.
    Raises:
        ImportError: without the extra ``plot``. ValueError: what :func:`~tecos_lvm.evaluate` refuses.
    """
    path = Path(path)
    if path.suffix not in (".html", ".htm"):
        raise ValueError(f"the report {path} must end in .html")
    found = examine(model, data, null_p, n_samples=n_samples)
    parts = [f"<h1>{html.escape(title)}</h1>", _facts(model, data), "<h2>Scores</h2>", _scores(found)]
    parts += ["<h2>Spike statistics</h2>", _statistics(found), _image(_overlays(found, data))]
    parts += ["<h2>Neurons</h2>"]
    parts += [_image(_neuron(found, data, n), _label(found, data, n)) for n in _choose(found.cc, neurons)]
    if isinstance(model, TeCoSLVM):
        seconds = data.n_bins * data.dt_ms / 1000
        shown = np.asarray(data.stimulus)[: round(5000 / data.dt_ms)]
        drawn = plot.figure(8, 2.5)
        plot.trajectories(*model.trajectories(shown), data.dt_ms, ax=drawn.add_subplot())
        parts += ["<h2>Memory h and latent z</h2>", _image(drawn)]
        lengths = [s for s in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0) if s <= seconds - 0.25]
        if len(lengths) > 1:
            drawn = plot.figure(8, 2.5)
            plot.length(length_curve(model, data, lengths), ax=drawn.add_subplot())
            parts += ["<h2>Longer time scales</h2>", _image(drawn)]
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>\n"
    )
    write_bytes(path, lambda file: file.write(page.encode()))
    return found


def _facts(model: Any, data: SpikeDataset) -> str:
    size = sum(p.numel() for p in model.parameters())
    text = (
        f"{type(model).__name__}, {size:,} parameters; {data.n_trials} trials of "
        f"{data.n_bins * data.dt_ms / 1000:g} s, {data.n_neurons} neurons, bins of {data.dt_ms:g} ms."
    )
    silent = f" Without a spike in the recording: {', '.join(map(html.escape, data.silent))}." if data.silent else ""
    return f"<p>{text}{silent}</p>"


def _scores(found: Evaluation) -> str:
    names = {
        "cc": "correlation of the rate with the mean of the trials",
        "ceiling": "its ceiling, root of Spearman-Brown",
        "cc_normalised": "share of the ceiling",
        "fev": "explainable variance explained",
        "bits_per_spike": "bits per spike over a constant rate",
    }
    return _table([[text, _number(found.scores[key])] for key, text in names.items()], ["", ""])


def _statistics(found: Evaluation) -> str:
    summary = found.report.summary()
    rows = [[m, *(_number(summary[name][m]) for name in ("real", "model", "rate"))] for m in summary["real"]]
    note = (
        "<p class=n>Against the even trials. Real: the odd trials. Rate: independent spikes of the odd trials' mean, "
        "the best possible rate model. A spiking model earns its name between the two. Distances between single trials "
        "are best near 'real', not low: silence scores low.</p>"
    )
    return _table(rows, ["", "real", "model", "rate"]) + note


def _table(rows: list[list[str]], head: list[str]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head) if any(head) else ""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{body}</table>"


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "no value"


def _choose(cc: Any, count: int) -> list[int]:
    order = [int(n) for n in np.argsort(-np.nan_to_num(cc, nan=-np.inf)) if np.isfinite(cc[n])]
    if not order:
        return []
    places = np.unique(np.linspace(0, len(order) - 1, max(1, count)).round().astype(int))
    return [order[p] for p in places]


def _label(found: Evaluation, data: SpikeDataset, n: int) -> str:
    return (
        f"Neuron {html.escape(data.neuron_ids[n])}: correlation {_number(float(found.cc[n]))}, "
        f"ceiling {_number(float(found.ceiling[n]))}"
    )


def _neuron(found: Evaluation, data: SpikeDataset, n: int) -> Any:
    drawn = plot.figure(8, 4)
    top, bottom = drawn.subplots(2, 1, sharex=True)
    shown = slice(0, round(5000 / data.dt_ms))
    plot.raster(data.spikes[:, shown], found.trials[:, shown], data.dt_ms, neuron=n, ax=top)
    plot.psth(data.spikes[:, shown], found.p[shown], data.dt_ms, neuron=n, ax=bottom)
    return drawn


def _overlays(found: Evaluation, data: SpikeDataset) -> Any:
    drawn = plot.figure(8, 3)
    left, right = drawn.subplots(1, 2)
    plot.autocorrelogram(data.spikes, found.trials, data.dt_ms, ax=left)
    plot.intervals(data.spikes, found.trials, data.dt_ms, ax=right)
    return drawn


def _image(drawn: Any, label: str = "") -> str:
    out = io.BytesIO()
    drawn.savefig(out, format="png", dpi=110)
    text = base64.b64encode(out.getvalue()).decode()
    return f'<p>{label}<br><img alt="{label}" src="data:image/png;base64,{text}"></p>'
