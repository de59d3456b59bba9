"""Compress interaction logs, look at the result, and check it against a known answer.

    python quickstart.py [--out demo/baco] [--data FILE]

First on generated interactions, whose co-clusters are known: how well are they found again? Then, where SPK_DATA names
the folder of the project's data sets (or --data a file in LightGCN's text form), on a real recommender log. Writes
matrix.png, report.html, the codebook and result.json to the output folder; about ten seconds on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from baco import BACO, BipartiteGraph
from baco.datasets import make_coclusters
from baco.io import read_interactions
from baco.report import write_report


def agreement(labels: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Adjusted Rand index and normalised mutual information (arithmetic mean) of two partitions."""
    _, a = np.unique(labels, return_inverse=True)
    _, b = np.unique(truth, return_inverse=True)
    cells = np.unique(a * (b.max() + 1) + b, return_counts=True)[1].astype(float)
    rows, columns = np.bincount(a).astype(float), np.bincount(b).astype(float)
    n = float(a.size)

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    def entropy(counts: np.ndarray) -> float:
        return float(-(counts / n * np.log(counts / n)).sum())

    chance = pairs(rows) * pairs(columns) / (n * (n - 1) / 2)
    ari = (pairs(cells) - chance) / ((pairs(rows) + pairs(columns)) / 2 - chance)
    shared = entropy(rows) + entropy(columns) - entropy(cells)
    return ari, 2 * shared / (entropy(rows) + entropy(columns))


def describe(name: str, graph: BipartiteGraph, model: BACO, seconds: float) -> str:
    book = model.codebook_
    full = (graph.n_users + graph.n_items) * 64 * 4 / 1e6
    inside = model.history_[-1]["inside"] / graph.total_weight
    return (
        f"{name}: {graph.n_edges:,} interactions, {graph.n_users + graph.n_items:,} ids -> {book.n_rows:,} rows "
        f"({book.ratio:.1%}) in {seconds:.1f} s; tables {full:.1f} -> {book.nbytes(64) / 1e6:.1f} MB, "
        f"{inside:.0%} of the interactions inside co-clusters"
    )


def draw(graph: BipartiteGraph, model: BACO, path: Path) -> None:
    try:
        from matplotlib.figure import Figure

        from baco.plot import plot_matrix
    except ImportError:
        print('no figure: pip install "baco[plot]"')
        return
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    before, after = figure.subplots(1, 2)
    together = np.zeros(graph.n_users, int), np.zeros(graph.n_items, int)
    plot_matrix(graph, together, ax=before)
    before.set(title="heaviest first", xlabel="items", ylabel="users")
    plot_matrix(graph, model, ax=after)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo/baco"), help="folder for the results")
    parser.add_argument("--data", type=Path, help="a log of `user item item ...` lines; default: Gowalla in SPK_DATA")
    options = parser.parse_args()
    folder = os.environ.get("SPK_DATA")
    log = options.data or (Path(folder) / "interactions/gowalla/train.txt" if folder else None)
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    said = []
    layout = "{desc:<24}{bar:30} {n_fmt}/{total_fmt} [{elapsed}]"
    with tqdm(total=4 if log else 3, disable=None, bar_format=layout) as bar:
        bar.set_description("generating interactions")
        planted = make_coclusters(20_000, 15_000, 200, mean_degree=30, mu=0.7, random_state=0)
        bar.update()

        bar.set_description("compressing them")
        clock = time.perf_counter()
        model = BACO(rows=400).fit(planted.graph)
        said.append(describe("generated", planted.graph, model, time.perf_counter() - clock))
        scores = [
            agreement(model.row_labels_, planted.user_labels),
            agreement(model.column_labels_, planted.item_labels),
        ]
        found = "; ".join(
            f"{side} ARI {a:.2f}, NMI {n:.2f}" for side, (a, n) in zip(("users", "items"), scores, strict=True)
        )
        said.append(f"the 200 planted co-clusters are found again: {found}")
        ran, graph = "generated interactions", planted.graph
        bar.update()

        if log:
            bar.set_description(f"compressing {log.parent.name}")
            graph, ran = read_interactions(log), f"{log.parent.name} and generated interactions"
            clock = time.perf_counter()
            model = BACO(ratio=0.17).fit(graph)
            said.insert(0, describe(log.parent.name, graph, model, time.perf_counter() - clock))
            bar.update()

        bar.set_description("drawing")
        model.codebook_.save(options.out / "codebook.npz")
        write_report(
            options.out / "report.html",
            model,
            graph,
            title=f"baco quickstart: {log.parent.name if log else 'generated'}",
        )
        draw(graph, model, options.out / "matrix.png")
        bar.update()
        bar.set_description("done")
    print("\n".join(said))
    result = {
        "system": "BACO: balanced co-clustering for embedding tables",
        "ran": f"BACO.fit on {ran}",
        "result": "; ".join(said),
        "seconds": round(time.perf_counter() - start, 1),
    }
    (options.out / "result.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
