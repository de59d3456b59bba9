"""Ways to choose labels at a budget, judged without training: rows "search" of ``reproduce-search.json``.

    python packages/baco/benchmarks/search.py [--only TEXT]

Vectors of all ids come from a truncated singular value decomposition of the normalised training interactions. A
codebook's rows are the means of their members; every id gets its row, two steps of LightGCN's propagation follow, and
Recall@20 is taken on the *validation* part. That takes seconds instead of a training, and puts codebooks in the order
that trainings put them in (see the page of measurements). It decided how the budget search ends; table "untrained" has
the comparison's tables at their budgets by it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
from cells import DIM, NAMED, TITLES, Cell, codebook, load

from baco import BACO, BipartiteGraph, Codebook
from baco._solver import search
from results import Results

Array = np.ndarray[Any, Any]
RATIOS = (0.05, 0.1, 0.17, 0.25)
WEIGHTS: dict[str, Any] = {"degree, uniform": NAMED, "as released": "paper"}
METRIC = "validation Recall@20 without training, %"
LAYERS, CUT, USERS = 2, 20, 4000


class Log:
    """A log with vectors of its ids, and the validation recall of what a codebook keeps of them."""

    def __init__(self, name: str) -> None:
        from sklearn.utils.extmath import randomized_svd

        self.train, valid, _ = load(name)
        self.seen, self.valid = self.train.to_scipy().tocsr(), valid.to_scipy().tocsr()
        scales = [sp.diags(np.maximum(degrees, 1e-7) ** -0.5) for degrees in _degrees(self.train)]
        self.steps = (scales[0] @ self.seen @ scales[1]).tocsr().astype(np.float32)
        left, values, right = randomized_svd(self.steps, DIM, n_iter=3, random_state=0)
        self.vectors = {"user": left * np.sqrt(values), "item": right.T * np.sqrt(values)}
        users = np.flatnonzero(np.diff(self.valid.indptr))
        self.users = np.random.default_rng(0).permutation(users)[:USERS]

    def recall(self, codebook: Codebook | None) -> float:
        """Validation Recall@20 in % with the codebook's rows, or with all vectors."""
        users, items = (self._shared(codebook, side) for side in ("user", "item"))
        sums = [users.copy(), items.copy()]
        for _ in range(LAYERS):
            users, items = self.steps @ items, self.steps.T @ users
            sums[0] += users
            sums[1] += items
        hits = 0.0
        for some in np.array_split(self.users, max(1, self.users.size // 500)):
            scores = (sums[0][some] @ sums[1].T).astype(np.float32)
            known = self.seen[some].tocoo()
            scores[known.row, known.col] = -np.inf
            best = np.argpartition(-scores, CUT, axis=1)[:, :CUT]
            for row, user in zip(best, some, strict=True):
                wanted = self.valid.indices[self.valid.indptr[user] : self.valid.indptr[user + 1]]
                hits += np.isin(row, wanted).sum() / min(CUT, wanted.size)
        return 100 * hits / self.users.size

    def _shared(self, codebook: Codebook | None, side: str) -> Array:
        if codebook is None:
            return self.vectors[side].copy()
        members = codebook.to_csr(side)
        weights = members.T.tocsr()
        total = np.asarray(weights.sum(1)).ravel()[:, None]
        return np.asarray(members @ ((weights @ self.vectors[side]) / np.maximum(total, 1e-9)))


def _degrees(graph: BipartiteGraph) -> tuple[Array, Array]:
    return graph.user_degrees, graph.item_degrees


@contextmanager
def replaced(name: str, value: Any) -> Iterator[None]:
    """A part of the budget search replaced for a while."""
    before = getattr(search, name)
    setattr(search, name, value)
    try:
        yield
    finally:
        setattr(search, name, before)


def swept_again(engine: Any, candidates: list[search.Trial], budget: int) -> search.Trial:
    """Instead of a comparison: merge what missed, sweep at the resolution that the last merger held at, merge again."""
    missed = candidates[-1]
    engine.set_labels(*missed.labels)
    if len(candidates) > 1:
        gamma = search._merge(engine, missed, budget)
        missed = search.run_trial(engine, gamma, budget, 10, patient=True, exact=True, show=lambda *_: None)
    if not missed.met:
        search._merge(engine, missed, budget)
    return missed


def tell(log: Log, name: str, out: Results) -> None:
    for kind, weights in WEIGHTS.items():
        for ratio in RATIOS:
            ways: dict[str, tuple[Any, dict[str, Any]]] = {
                "ours": (replaced("GAP", search.GAP), {}),
                "sweeps": (replaced("GAP", float("inf")), {}),
                "again": (replaced("_choose", swept_again), {}),
                "one": (replaced("GAP", float("inf")), {"max_sweeps": 1}),
            }
            found: dict[str, tuple[float, float]] = {}
            recalls: dict[bytes, float] = {}  # ways often come to the same labels
            for way, (change, options) in ways.items():
                with change:
                    model = BACO(ratio=ratio, weights=weights, n_jobs=1, **options).fit(log.train)
                labels = np.concatenate([model.row_labels_, model.column_labels_]).tobytes()
                if labels not in recalls:
                    recalls[labels] = log.recall(model.codebook_)
                found[way] = recalls[labels], np.bincount(model.row_labels_).max() / log.train.n_users
            ours, sweeps = found["ours"], found["sweeps"]
            note = f"largest group {ours[1]:.1%} of the users against {sweeps[1]:.1%}; "
            note += f"swept again at the merging's resolution {found['again'][0]:.2f}; one sweep {found['one'][0]:.2f}"
            out.add(
                name=f"{name}, weights {kind}, ratio {ratio}",
                metric=METRIC,
                ours=ours[0],
                peer=("sweeps alone", sweeps[0]),
                ratio=ours[0] / sweeps[0],
                n=1,
                note=note,
                table="search",
            )
            out.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="logs whose name contains this")
    options = parser.parse_args()
    out = Results("baco", "reproduce", variant="search", threads=1, resume=True)
    for name in ("Beauty", "ML-1M", "Gowalla"):
        if options.only in name:
            log = Log(name)
            tell(log, name, out)
            full = log.recall(None)
            for table in ("full", "modulo", "BACO", "graphhash"):
                book = None if table == "full" else codebook(Cell(name, "LightGCN", table, 0), log.train)
                found = full if book is None else log.recall(book)
                out.add(
                    name=f"{name}, {TITLES[table]}",
                    metric=METRIC,
                    ours=found,
                    ratio=found / full,
                    n=1,
                    note="" if book is None else f"{book.n_rows} rows",
                    table="untrained",
                )
                out.write()


if __name__ == "__main__":
    main()
