"""Against the paper: sizes after each sweep (appendix, figure 4) and what compressed tables recommend (table 8).

    python packages/baco/benchmarks/reproduce.py [--minutes N] [--only TEXT] [--list]

A queue of cells (data, model, table, seed), the headline comparison first; each is written as soon as it is done, and
a stopped queue goes on where it was. The recipe is a short one, for a CPU, and every note says so: batches of 8,192,
learning rate 0.005, rows drawn with a deviation of 0.1, at most 40 epochs, validation every 5, patience 10. It was
chosen on Beauty's validation part, and so was the balance weighting of BACO's clusters. On the larger logs an epoch
has about as many steps as on Beauty (``cells.LARGER``). The paper's own recipe is ``gpu.py``'s.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
from cells import Cell, load, run
from common import data_file, gowalla
from recall import not_run, summarise

from baco import BACO, BipartiteGraph
from results import Results

FIGURE_4 = {"Beauty": (0.1308, (0.58, 0.46, 0.41, 0.33, 0.22)), "Gowalla": (7.57, (0.48, 0.32, 0.24, 0.20, 0.17))}
SEEDS = (2025, 0, 1, 2, 3)
CORE = ("full", "BACO", "modulo", "graphhash", "BACO, one code")
LARGER_LOGS = ("full", "modulo", "BACO", "graphhash", "BACO, paper weights", "BACO, one code")


def queue() -> Iterator[Cell]:
    """The headline first, then the other baselines and models, then other logs."""
    plain = ("full", "graphhash", "BACO", "modulo")
    for seed in (0, 1, 2):
        for table in CORE:
            yield Cell("Beauty", "LightGCN", table, seed)
        for table in plain if seed == 0 else ():
            yield Cell("Beauty", "MF", table, seed)
    yield Cell("Beauty", "LightGCN", "BACO, paper weights", 0)
    for seed in (1, 2):
        for table in plain:
            yield Cell("Beauty", "MF", table, seed)
    for table in ("leiden", "label_propagation", "double_graphhash", "lsh", "frequency", "double", "hybrid"):
        yield Cell("Beauty", "LightGCN", table, 0)
    for table in ("infomap", "quotient_remainder", "scc", "sbc", "BACO, fewer rows"):
        yield Cell("Beauty", "LightGCN", table, 0)
    for data in ("ML-1M", "Gowalla"):
        for table in LARGER_LOGS:
            yield Cell(data, "LightGCN", table, 0)
    for seed in (1, 2):
        for table in ("infomap", "BACO, fewer rows"):
            yield Cell("Beauty", "LightGCN", table, seed)


def figure_4(out: Results) -> None:
    """Codebook rows after each sweep of the published rule."""
    matrix = gowalla()
    graphs = {"Beauty": load("Beauty")[0], "Gowalla": BipartiteGraph.from_scipy(matrix)}
    for name, (gamma, published) in FIGURE_4.items():
        graph = graphs[name]
        ids = graph.n_users + graph.n_items
        runs = [BACO(gamma=gamma, compat="release", random_state=seed).fit(graph).history_ for seed in SEEDS]
        ours = BACO(gamma=gamma).fit(graph).history_
        for sweep, value in enumerate(published):
            shares = [(run[sweep]["rows_u"] + run[sweep]["rows_i"]) / ids for run in runs]
            middle = statistics.mean(shares)
            alternating = (ours[sweep]["rows_u"] + ours[sweep]["rows_i"]) / ids
            out.add(
                name=f"{name}, after sweep {sweep + 1}",
                metric="codebook rows over ids",
                ours=middle,
                reference=value,
                ratio=middle / value,
                target="within 0.025",
                met=abs(middle - value) <= 0.025,
                n=len(SEEDS),
                spread=statistics.stdev(shares),
                note=f"the published rule at gamma {gamma}; ours, alternating and staying, leaves {alternating:.3f}",
                table="figure4",
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop before the cell that starts later")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--list", action="store_true", help="say which cells are done, and stop")
    options = parser.parse_args()
    if data_file("beauty/beauty.npz") is None:
        sys.exit("SPK_DATA is not set: these rows need the Beauty, MovieLens-1M and Gowalla logs")
    out = Results("baco", "reproduce", threads=1, resume=True)
    cells = [cell for cell in queue() if options.only in str(cell)]
    if options.list:
        for cell in cells:
            print("done" if out.has_cell(str(cell), cell.seed) else "    ", cell, cell.seed)
        return
    started = time.perf_counter()
    if not any(row.get("table") == "figure4" for row in out.rows):
        figure_4(out)
    not_run(out)
    summarise(out, queue(), " on a CPU")
    out.write()
    for cell in cells:
        if out.has_cell(str(cell), cell.seed):
            continue
        if time.perf_counter() - started > 60 * options.minutes:
            break
        begin = time.perf_counter()
        values = run(cell)
        taken = time.perf_counter() - begin
        out.add_cell(str(cell), cell.seed, values, seconds=taken)
        summarise(out, queue(), " on a CPU")
        out.write()
        print(f"{cell}, seed {cell.seed}: recall@20 {values['recall@20']:.4f}, {taken:.0f} s", flush=True)


if __name__ == "__main__":
    main()
