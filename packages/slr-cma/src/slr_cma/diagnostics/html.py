"""The report as one page: bars with intervals, rate and correlation curves, drawn as SVG."""

from __future__ import annotations

from html import escape
from typing import Any

__all__ = ["page"]

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:820px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:left}
.finding{font-size:1.15em;border-left:4px solid #d9541e;padding-left:.8em}.warning{color:#a40}
svg text{font:12px system-ui,sans-serif}"""


def page(report: dict[str, Any]) -> str:
    """HTML of a report's dictionary."""
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        "<title>Does this dataset need time?</title>"
        f"<style>{STYLE}</style><h1>Does this dataset need time?</h1>",
        f'<p class="finding">{escape(report["sentence"])}</p>',
        f"<p>{report['n_train']} training and {report['n_test']} test recordings, {report['n_classes']} classes, chance "  # noqa: E501
        f"{report['chance']:.3f}.</p>",
        *(f'<p class="warning">Warning: {escape(text)}</p>' for text in report["warnings"]),
    ]
    if report["table"]:
        parts += ["<h2>Probes</h2>", bars(report["table"], report["chance"]), rows(report), explain(report)]
    if report["tier0"]:
        zero = report["tier0"]
        parts += [
            "<h2>Without labels</h2>",
            curve(zero["rate"], "mean total per bin", "bin"),
            curve(zero["correlation"], "correlation of maps, minus shuffled", "lag"),
            f"<p>Rate varies by {zero['rate_cv']:.2f} (coefficient of variation); correlation length "
            f"{zero['correlation_length'] or 'beyond T/2'} bins; {zero['static_share']:.0%} of the energy is in the "
            f"mean over time; activity is spread over time with relative entropy {zero['entropy']:.2f}.</p>",
        ]
    if report["tier2"]:
        two = report["tier2"]
        lines = [
            f"<tr><td>{start} {escape(name)}</td><td>{accuracy:.3f}</td>"
            f"<td>{two['low'][f'{part} {name}']:.3f}-{two['high'][f'{part} {name}']:.3f}</td></tr>"
            for part, start in (("trained", "trained and tested"), ("tested", "ordered, tested"))
            for name, accuracy in two[part].items()
        ]
        tdi = "undefined" if two["tdi"] is None else f"{two['tdi']:.2f}"
        if two["tdi_ci"] is not None:
            tdi += f" [{two['tdi_ci'][0]:.2f}, {two['tdi_ci'][1]:.2f}]"
        tsi = "undefined" if two["tsi"] is None else f"{two['tsi']:.2f}"
        parts += [
            "<h2>Trained networks</h2>",
            f"<table>{''.join(lines)}</table><p>TDI {tdi}: what retraining without order loses, a property of the data "
            f"given this class of networks. TSI {tsi}: what one trained network loses when its test data are shuffled, "
            "a property of that network (the shift of distribution included), never of the data.</p>",
        ]
    return "\n".join(parts) + "</html>\n"


def bars(table: dict[str, dict[str, Any]], chance: float) -> str:
    """Horizontal bars with 95 % intervals and a line at chance."""
    left, width, step = 150, 560, 26
    height = step * len(table) + 30
    out = [f'<svg width="{left + width + 60}" height="{height}" role="img" aria-label="accuracy of each probe">']
    for i, (name, row) in enumerate(table.items()):
        y = 8 + i * step
        a, low, high = (left + width * row[k] for k in ("accuracy", "low", "high"))
        colour = "#bbb" if "shuffled" in name else "#4477aa"
        out.append(
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{left}" y="{y}" width="{a - left:.1f}" height="16" fill="{colour}"/>'
            f'<path d="M{low:.1f},{y + 8}H{high:.1f}" stroke="#222" stroke-width="2"/>'
            f'<text x="{high + 6:.1f}" y="{y + 13}">{row["accuracy"]:.3f}</text>'
        )
    x = left + width * chance
    out.append(f'<path d="M{x:.1f},0V{height - 24}" stroke="#d9541e" stroke-dasharray="4 3"/>')
    out.append(f'<text x="{x:.1f}" y="{height - 8}" fill="#d9541e" text-anchor="middle">chance</text></svg>')
    return "".join(out)


def rows(report: dict[str, Any]) -> str:
    """The table of probes."""
    lines = [
        f"<tr><td>{escape(name)}</td><td>{row['accuracy']:.3f}</td><td>{row['low']:.3f}-{row['high']:.3f}</td>"
        f"<td>{row['p_holm']:.3f}</td><td>{escape(row['uses'])}</td></tr>"
        for name, row in report["table"].items()
    ]
    head = "<tr><th>probe</th><th>accuracy</th><th>95 %</th><th>p (Holm)</th><th>can use</th></tr>"
    return f"<table>{head}{''.join(lines)}</table>"


def explain(report: dict[str, Any]) -> str:
    """Why the obvious test misleads, with this dataset's own numbers."""
    low, high = report["ci"]["order_gain"]
    tci = "undefined" if report["tci"] is None else f"{report['tci']:.2f}"
    naive = "undefined" if report["naive_tsi"] is None else f"{report['naive_tsi']:.2f}"
    return (
        f"<p>Order gain {report['order_gain']:+.3f} [{low:+.3f}, {high:+.3f}] = pyramid minus the better of bag and shuffled "  # noqa: E501
        f"pyramid; TCI {tci}. The obvious test, shuffling the fully ordered probe, would say {naive}: that probe needs "
        "every bin at its place, so it falls when shuffled even where order carries nothing. Compare probes that "
        "tolerate alignment instead.</p>"
    )


def curve(values: list[float], title: str, axis: str) -> str:
    """A small line chart."""
    if len(values) < 2:
        return ""
    low, high = min(0.0, *values), max(values)
    span = (high - low) or 1.0
    points = " ".join(
        f"{40 + 300 * i / (len(values) - 1):.1f},{20 + 90 * (1 - (v - low) / span):.1f}" for i, v in enumerate(values)
    )
    return (
        f'<svg width="370" height="140" role="img" aria-label="{escape(title)}"><text x="40" y="12">{escape(title)}</text>'  # noqa: E501
        f'<path d="M40,110H340" stroke="#bbb"/><polyline points="{points}" fill="none" stroke="#4477aa" stroke-width="2"/>'  # noqa: E501
        f'<text x="36" y="24" text-anchor="end">{high:.3g}</text><text x="36" y="112" text-anchor="end">{low:.3g}</text>'  # noqa: E501
        f'<text x="340" y="128" text-anchor="end">{escape(axis)}</text></svg>'
    )
