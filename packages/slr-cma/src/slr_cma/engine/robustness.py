"""How a network holds up when one modality, or both, are corrupted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from slr_cma._arrays import ArrayDataset
from slr_cma._sample import Sample
from slr_cma.data.corrupt import CORRUPTIONS, corrupt
from slr_cma.engine.train import predict
from slr_cma.models.net import CMANet

__all__ = ["mean_corruption_error", "robustness_suite"]


def robustness_suite(
    net: CMANet,
    dataset: Dataset[Sample],
    *,
    corruptions: Sequence[str] | str = "all",
    severities: Sequence[int] = (1, 3, 5),
    seeds: int = 3,
    device: str = "cpu",
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Accuracy under every corruption and severity, the mean over ``seeds`` draws.

    Args:
        dataset: of :class:`Sample`, taken into memory; where it has ``groups`` (users, lights ...), each row also names
            the group that does worst.
        net, device, progress: the network, where it computes, a bar. corruptions: names, or "all". severities: 1 to 5.
    Returns:
        Rows {corruption, strikes, severity, accuracy, spread, drop, worst_group, worst_group_accuracy}; first the
        clean one, then with one modality missing, last the worst of all. Without groups the last two are None.
    Raises:
        ValueError: an unknown corruption or severity.
    """
    from tqdm import tqdm

    data = ArrayDataset.from_dataset(dataset)
    names = (
        list(CORRUPTIONS) if corruptions == "all" else [corruptions] if isinstance(corruptions, str) else corruptions
    )

    def answers(e: NDArray[Any] | None, f: NDArray[Any] | None) -> NDArray[np.bool_]:
        logits, labels = predict(net, ArrayDataset(e, f, data.labels, mask=data.mask), device=device)
        right: NDArray[np.bool_] = (logits.argmax(1) == labels).numpy()
        return right

    rows: list[dict[str, Any]] = []

    def add(name: str, strikes: str, severity: int, right: list[NDArray[np.bool_]]) -> None:
        each = np.mean(right, 1)
        mean = float(each.mean())
        row: dict[str, Any] = {
            "corruption": name, "strikes": strikes, "severity": severity, "accuracy": mean, "spread": float(each.std()),
            "drop": (rows[0]["accuracy"] if rows else mean) - mean, "worst_group": None, "worst_group_accuracy": None,
        }  # fmt: skip
        if data.groups is not None:
            by_sample = np.mean(right, 0)
            found = {str(g): float(by_sample[data.groups == g].mean()) for g in np.unique(data.groups)}
            row["worst_group"] = min(found, key=lambda g: found[g])
            row["worst_group_accuracy"] = found[row["worst_group"]]
        rows.append(row)

    add("none", "", 0, [answers(data.events, data.frames)])
    if data.events is not None and data.frames is not None:
        if net.config.fusion != "frames":
            add("no frames", "frames", 5, [answers(data.events, None)])
        if net.config.fusion != "events":
            add("no events", "events", 5, [answers(None, data.frames)])
    for name in tqdm(names, desc="corruptions", disable=not progress):
        for severity in severities:
            draws = [corrupt(name, data.events, data.frames, severity=severity, seed=s) for s in range(seeds)]
            add(name, CORRUPTIONS[name][0], severity, [answers(*pair) for pair in draws])
    worst = min(rows, key=lambda row: row["accuracy"])
    return [*rows, {**worst, "corruption": f"worst: {worst['corruption']}"}]


def mean_corruption_error(rows: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]]) -> float:
    """Error under corruption relative to a baseline's, in %: below 100 is better than it.

    For each corruption the errors over severities are summed and divided by the baseline's; the mean over corruptions.

    Args:
        rows, baseline: of :func:`robustness_suite` with the same corruptions and severities.
    Raises:
        ValueError: other corruptions or severities, a baseline without any error.
    Source: Hendrycks and Dietterich 2019, mCE, with the baseline of one's own choice.
    """

    def errors(table: Sequence[dict[str, Any]]) -> dict[tuple[str, int], float]:
        return {(r["corruption"], r["severity"]): 1 - r["accuracy"] for r in table if r["corruption"] in CORRUPTIONS}

    ours, theirs = errors(rows), errors(baseline)
    if ours.keys() != theirs.keys() or not ours:
        raise ValueError("both need the same corruptions and severities, and some; run robustness_suite alike for both")
    ratios = []
    for name in dict.fromkeys(name for name, _ in ours):
        mine, other = (sum(e for (each, _), e in t.items() if each == name) for t in (ours, theirs))
        if other == 0:
            raise ValueError(f"the baseline makes no error under {name!r}: nothing to divide by; raise the severities")
        ratios.append(mine / other)
    return 100 * float(np.mean(ratios))
