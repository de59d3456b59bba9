"""The temporal-correlation report: does a dataset need time?"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slr_cma._files import atomic_write
from slr_cma.diagnostics import html
from slr_cma.diagnostics.features import VIEWS, Views
from slr_cma.diagnostics.probes import Probe, few_threads, run_probe
from slr_cma.diagnostics.sources import from_torch_dataset
from slr_cma.diagnostics.stats import group_split, holm, tci, tdi, wilson
from slr_cma.diagnostics.tier0 import describe_time
from slr_cma.diagnostics.tier2 import model_report

__all__ = ["TemporalReport", "temporal_report"]

SCHEMA = 1


@dataclass
class TemporalReport:
    """What :func:`temporal_report` found.

    Attributes:
        n_train, n_test, n_classes, chance (share of the commonest test class), warnings.
        table: view -> accuracy, low, high (Wilson 95 %), n, p (labels permuted), p_holm, and what the view can use.
        order_gain: A_pyramid - max(A_bag, A_shuffled pyramid), the "needs time" number. snapshot_gain: A_bag -
            A_collapsed.
        tci: Temporal Correlation Index in [0, 1]; nan where no probe beats chance. ci: 95 % bootstrap intervals of
            order_gain, snapshot_gain and tci.
        naive_tsi: the drop of the brittle ordered probe when shuffled; shown because it misleads.
        tier0: of :func:`describe_time`. tier2: of :func:`model_report`, or None.
    """

    n_train: int
    n_test: int
    n_classes: int
    chance: float
    table: dict[str, dict[str, Any]] = field(default_factory=dict)
    order_gain: float = math.nan
    snapshot_gain: float = math.nan
    tci: float = math.nan
    naive_tsi: float = math.nan
    ci: dict[str, tuple[float, float]] = field(default_factory=dict)
    tier0: dict[str, Any] | None = None
    tier2: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if not self.table:
            return "Only tier 0 or 2 was run: no probe says how much of the labels lies in temporal order."
        best = max(row["accuracy"] for row in self.table.values())
        if math.isnan(self.tci):
            return (
                f"Undefined: the order-aware probe ({self.table['pyramid']['accuracy']:.3f}) is not above chance "
                f"({self.chance:.3f}), so there is nothing to divide into order and content (best probe {best:.3f})."
            )
        low, high = self.ci["order_gain"]
        numbers = f"{self.order_gain:+.3f} [{low:+.3f}, {high:+.3f}] accuracy, TCI {self.tci:.2f}"
        if low > 0.0 and self.tci >= 0.5:
            return f"This dataset needs time: order adds {numbers}, most of what can be known about the labels."
        if low > 0.0:
            return f"Order helps but is not needed for most of it: it adds {numbers}."
        return (
            f"This dataset hardly needs time: order adds {numbers}, an interval that holds zero, while the set of "
            f"snapshots alone gives {self.table['bag']['accuracy']:.3f}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data; nan becomes None."""
        plain: dict[str, Any] = _plain({"schema": SCHEMA, **asdict(self), "sentence": self.sentence})
        return plain

    def to_json(self, path: Path | str | None = None) -> str:
        """As JSON; also written to ``path`` if given."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        if path is not None:
            with atomic_write(path) as file:
                file.write(text + "\n")
        return text

    def to_markdown(self) -> str:
        """As a table with the sentence under it."""
        lines = ["| probe | accuracy | 95 % | p (Holm) | can use |", "|---|---:|---|---:|---|"]
        for name, row in self.table.items():
            lines.append(
                f"| {name} | {row['accuracy']:.3f} | {row['low']:.3f}-{row['high']:.3f} | {row['p_holm']:.3f} | "
                f"{row['uses']} |"
            )
        lines.append(f"| chance | {self.chance:.3f} | | | |")
        return "\n".join([*lines, "", self.sentence, *(f"\nWarning: {each}" for each in self.warnings)])

    def to_html(self, path: Path | str) -> Path:
        """One page with pictures, without outside files."""
        with atomic_write(path) as file:
            file.write(html.page(self.to_dict()))
        return Path(path)

    def plot(self) -> Any:
        """Bars of the probes with their intervals (extra ``plot``); returns the Figure."""
        from slr_cma.plot import probes

        return probes(self)


def temporal_report(
    data: Any,
    labels: NDArray[Any] | Sequence[int] | None = None,
    groups: NDArray[Any] | Sequence[Any] | None = None,
    *,
    split: tuple[NDArray[Any] | Sequence[int], NDArray[Any] | Sequence[int]] | None = None,
    tiers: Sequence[int] = (0, 1),
    n_perm: int = 200,
    n_boot: int = 1000,
    grid: int = 8,
    rff: int = 256,
    seed: int = 0,
    epochs: int = 25,
    progress: bool = False,
) -> TemporalReport:
    """Say how much of the label information lies in temporal order.

    Args:
        data: [n, T, C, H, W], event counts or frames, with labels: [n] class indices; or, without labels, a torch
            dataset of (frames, label) or our samples (see :func:`from_torch_dataset`).
        groups: [n] subjects or source files; splits, inner folds and intervals respect them.
        split: (train, test) indices; None: a quarter of the groups (or, with a warning, of the samples) is test.
        tiers: 0 describes without labels; 1 runs training-free probes (seconds); 2 trains small networks (minutes).
        n_perm, n_boot: permutations of the labels, bootstrap draws. grid: cells a side the maps are pooled to.
        rff: random Fourier features of a snapshot. seed: of all that is drawn. epochs: of tier 2's trainings.
        progress: a bar.
    Raises:
        ValueError: shapes that do not fit, NaN, fewer than two classes, overlapping or empty split.
    Example:
        >>> from slr_cma import PairedSign
        >>> signs = PairedSign(240, task="order", seed=3)
        >>> report = temporal_report(signs.events, signs.labels, groups=range(240), tiers=(1,))
        >>> report.tci > 0.9
        True
    Source: our own design (the paper's procedure is not known).
    """
    if labels is None:
        data, labels = from_torch_dataset(data)
    x, y, g = _check(data, labels, groups)
    if not set(tiers) <= {0, 1, 2} or not tiers:
        raise ValueError(f"tiers={tuple(tiers)} given; expected some of 0, 1, 2")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train, test = _split(y, g, split, seed)
    told = [str(each.message) for each in caught]
    if g is not None:
        shared = np.intersect1d(g[train], g[test])
        if len(shared):
            told.append(
                f"{len(shared)} group(s) stand in both train and test (such as {shared[0]}): accuracies are inflated; "
                "split by group"
            )
    unseen = np.setdiff1d(y[test], y[train])
    if len(unseen):
        wrong = int(np.isin(y[test], unseen).sum())
        told.append(f"class {unseen[0]} has no training recording: {wrong} of {len(test)} test samples cannot be right")
    if len(test) < 100:
        told.append(f"{len(test)} test samples: intervals are wide, differences below about 0.1 mean little")
    for text in told:
        warnings.warn(text, UserWarning, stacklevel=2)
    chance = float(np.bincount(y[test]).max() / len(test))
    report = TemporalReport(len(train), len(test), len(np.unique(y)), chance, warnings=told)
    if 0 in tiers:
        report.tier0 = describe_time(x, seed=seed)
    if 1 in tiers:
        with few_threads(len(train)):
            _tier1(report, x, y, g, train, test, n_perm, n_boot, grid, rff, seed)
    if 2 in tiers:
        report.tier2 = model_report(x, y, train, test, epochs=epochs, seed=seed, progress=progress)
    return report


def _check(
    data: NDArray[Any], labels: NDArray[Any] | Sequence[int], groups: NDArray[Any] | Sequence[Any] | None
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[Any] | None]:
    x, y = np.asarray(data), np.asarray(labels)
    if x.ndim != 5:
        raise ValueError(f"data have shape {x.shape}; expected [n, T, C, H, W] (bin events first, see bin_events)")
    if y.shape != (len(x),):
        raise ValueError(f"{len(x)} recordings but labels of shape {y.shape}; expected one label each")
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"labels have dtype {y.dtype}; expected integer class indices")
    if x.shape[1] < 2:
        raise ValueError(f"T={x.shape[1]}: with one time bin there is no order to look for")
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        raise ValueError("data hold NaN or infinity; clean them first")
    names, y = np.unique(y, return_inverse=True)
    if len(names) < 2:
        raise ValueError("all labels are the same; there is nothing to tell apart")
    g = None if groups is None else np.asarray(list(groups))
    if g is not None and g.shape != y.shape:
        raise ValueError(f"groups have shape {g.shape}; expected one group per recording, {y.shape}")
    return x, y.astype(np.int64), g


def _split(
    y: NDArray[np.int64], g: NDArray[Any] | None, split: Any, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if split is None:
        return group_split(y, g, seed=seed)
    train, test = (np.asarray(part) for part in split)
    train, test = (np.flatnonzero(p) if p.dtype == bool else p.astype(np.int64) for p in (train, test))
    if not len(train) or not len(test):
        raise ValueError(f"{len(train)} training and {len(test)} test samples; expected some of each")
    both = np.intersect1d(train, test)
    if len(both):
        raise ValueError(f"{len(both)} sample(s) stand in train and test, such as number {both[0]}")
    if max(train.max(), test.max()) >= len(y):
        raise ValueError(f"the split names sample {max(train.max(), test.max())} of {len(y)}")
    return train, test


def _tier1(
    report: TemporalReport,
    x: NDArray[Any],
    y: NDArray[np.int64],
    g: NDArray[Any] | None,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    n_perm: int,
    n_boot: int,
    grid: int,
    rff: int,
    seed: int,
) -> None:
    views = Views(x, train, grid=grid, rff=rff, seed=seed)
    rng = np.random.default_rng([7, seed])
    if g is None:
        folds = rng.permutation(len(train)) % 3
    else:
        names, index = np.unique(g[train], return_inverse=True)
        folds = (rng.permutation(len(names)) % min(3, len(names)))[index]
    probes: dict[str, Probe] = {
        name: run_probe(views.get(name), y, train, test, folds, n_perm=n_perm, seed=seed) for name in VIEWS
    }
    adjusted = holm([probe.p for probe in probes.values()])
    for (name, probe), p_holm in zip(probes.items(), adjusted, strict=True):
        low, high = wilson(int(probe.right.sum()), len(test))
        report.table[name] = {
            "accuracy": probe.accuracy, "low": low, "high": high, "n": len(test), "p": probe.p, "p_holm": p_holm,
            "uses": VIEWS[name],
        }  # fmt: skip
    right = np.stack([probes[name].right for name in VIEWS]).astype(float)
    rows = {name: i for i, name in enumerate(VIEWS)}
    found = _gains(right.mean(1)[:, None], rows, report.chance)
    draws = _gains(_bootstrap(right, None if g is None else g[test], n_boot, rng), rows, report.chance)
    report.order_gain, report.snapshot_gain = float(found["order_gain"][0]), float(found["snapshot_gain"][0])
    report.ci = {name: tuple(np.percentile(d, [2.5, 97.5]).tolist()) for name, d in draws.items()}
    if report.table["pyramid"]["low"] > report.chance:
        blind = max(report.table[k]["accuracy"] for k in ("bag", "pyramid, shuffled", "collapsed"))
        report.tci = tci(report.table["pyramid"]["accuracy"], blind, report.chance)
    else:
        del report.ci["tci"]
    ordered, brittle = report.table["ordered"]["accuracy"], report.table["ordered, shuffled"]["accuracy"]
    report.naive_tsi = tdi(ordered, brittle, report.chance)


def _bootstrap(
    right: NDArray[np.float64], g: NDArray[Any] | None, n_boot: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Accuracies [views, draws], test samples (or whole groups) drawn anew, the same ones for every view."""
    if g is None:
        sums, sizes = right, np.ones(right.shape[1])
    else:
        names, index = np.unique(g, return_inverse=True)
        sums = np.zeros((len(right), len(names)))
        for i, row in enumerate(right):
            sums[i] = np.bincount(index, row, len(names))
        sizes = np.bincount(index, minlength=len(names)).astype(float)
    times = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), n_boot).astype(float)  # [draws, units]
    out: NDArray[np.float64] = (sums @ times.T) / (times @ sizes)
    return out


def _gains(a: NDArray[np.float64], rows: dict[str, int], chance: float) -> dict[str, NDArray[np.float64]]:
    bag, collapsed, pyramid, shuffled = (a[rows[k]] for k in ("bag", "collapsed", "pyramid", "pyramid, shuffled"))
    order = pyramid - np.maximum(bag, shuffled)
    blind = np.maximum(np.maximum(bag, shuffled), collapsed)
    index = np.clip((pyramid - blind) / np.maximum(pyramid - chance, 1e-9), 0, 1)
    return {"order_gain": order, "snapshot_gain": bag - collapsed, "tci": index}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
