"""Fits on many machines: Dask workers sweep blocks of users and items, one process puts them together.

Needs the extra ``baco[dask]``. A half-sweep reads only the other side's labels and volumes, so blocks of one side
are independent: the labels are those of one machine, bit for bit.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._mapped import is_graph
from .graph import BipartiteGraph

try:
    import distributed
except ImportError:
    raise ImportError('baco.dask needs Dask; install it with: pip install "baco[dask]"') from None

if TYPE_CHECKING:
    from ._solver.problem import Problem
    from ._solver.sweeps import Alternating
    from .cluster import BACO

__all__ = ["fit"]

Array = np.ndarray[Any, Any]
Block = list[tuple[int, int]]
#: How often, in seconds, a wait looks whether every worker is still there.
_LOOK = 1.0
#: Reading headings of npy files in several threads at once trips over a defect of Python 3.11's parser.
_OPENING = threading.Lock()


def fit(model: BACO, graph: str | Path, client: distributed.Client, *, blocks_per_worker: int = 4) -> BACO:
    """`BACO.fit` with its half-sweeps on the workers of a Dask cluster.

    Args:
        model: as for a fit on one machine; ``order="alternating"``, which the others have no parallel form of.
        graph: folder that `BipartiteGraph.save` or `baco.ingest.ingest` wrote, under a path that every worker can
            read. A worker maps the blocks it works on; the calling process holds labels, not edges.
        client: of the cluster. Choosing second codes, and merging where sweeps stall, pass over the mapped edges in
            the calling process.
        blocks_per_worker: parts that each side's edges are cut into, per worker.
    Returns:
        the model, fitted; equal to ``model.fit(BipartiteGraph.open(graph))``.
    Raises:
        ValueError, TypeError: as `BACO.fit`; no such folder; no worker.
        RuntimeError: a worker died. The model is as it was before the call.
    """
    if not is_graph(graph):
        raise ValueError(f"{graph} is no graph folder; write one with BipartiteGraph.save or baco.ingest.ingest")
    if model.order != "alternating" or model.compat is not None:
        raise ValueError('sweeps are parallel with order="alternating" and without compat; choose these')
    workers = set(client.nthreads())  # type: ignore[no-untyped-call]
    if not workers:
        raise ValueError("the cluster has no worker; wait for one with client.wait_for_workers(1)")
    path = str(Path(graph).resolve())
    team = _Team(client, workers, path, blocks_per_worker * len(workers))
    with team:
        model._check()
        return model._fit(BipartiteGraph.open(path), team.engine)


class _Team:
    """The workers of a fit and the blocks they sweep."""

    def __init__(self, client: distributed.Client, workers: set[str], path: str, n_blocks: int) -> None:
        self.client, self.workers, self.path, self.n_blocks = client, workers, path, n_blocks
        self.running: list[Any] = []

    def __enter__(self) -> _Team:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(Exception):  # after a death there may be nobody left to tell
            self.client.cancel(self.running)  # type: ignore[no-untyped-call]

    def engine(self, model: BACO, problem: Problem) -> Alternating:
        from ._solver.sweeps import Alternating

        team = self

        class Distributed(Alternating):
            """`Alternating` whose proposals and sums over edges come from the workers."""

            def _propose(self, side: Any, other: Any, gamma: float, keepers: Array) -> tuple[int, float]:
                volume = np.bincount(other.labels, other.mass, minlength=self.n_labels)
                shared = team.share(other.labels, volume, keepers)
                blocks = team.blocks(side)
                done = team.run(
                    _propose_block,
                    side is self.users,
                    blocks,
                    lambda part: (side.mass[part], side.labels[part], *shared, gamma / self.norm, self.stay),
                )
                for block, (target, gain, _) in zip(blocks, done, strict=True):
                    side.target[_whole(block)], side.gain[_whole(block)] = target, gain
                # summed over the parts that one machine sums over, in their order: the same to the last bit
                parts = [part for _, _, parts in done for part in parts]
                return sum(moves for moves, _ in parts), float(sum(inside for _, inside in parts))

            def inside(self) -> float:
                (shared,) = team.share(self.items.labels)
                done = team.run(
                    _inside_block, True, team.blocks(self.users), lambda part: (self.users.labels[part], shared)
                )
                return float(sum(part for parts in done for part in parts))

        masses = (problem.user_mass, problem.item_mass, problem.norm)
        return Distributed(problem.graph, *masses, stay=model.stay, n_jobs=1)

    def blocks(self, side: Any) -> list[Block]:
        """Parts of one machine, in consecutive groups of about equal numbers of edges."""
        parts = side.blocks
        step = max(-(-len(parts) // self.n_blocks), 1)
        return [parts[first : first + step] for first in range(0, len(parts), step)]

    def share(self, *arrays: Array) -> list[Any]:
        """Arrays on every worker, as futures."""
        with self._deaths():
            futures: list[Any] = self.client.scatter(list(arrays), broadcast=True, hash=False)  # type: ignore[no-untyped-call]
        return futures

    def run(self, work: Any, of_users: bool, blocks: list[Block], arguments: Any) -> list[Any]:
        """Results of ``work`` on every block, in order; RuntimeError as soon as a worker is missing."""
        names = sorted(self.workers)
        self.running = [
            self.client.submit(
                work,
                self.path,
                of_users,
                block,
                *arguments(_whole(block)),
                pure=False,
                workers=names[number % len(names)],
                allow_other_workers=False,
            )
            for number, block in enumerate(blocks)
        ]
        while True:
            with contextlib.suppress(distributed.TimeoutError, TimeoutError):
                distributed.wait(self.running, timeout=_LOOK)  # type: ignore[no-untyped-call]
                break
            self._look()
        self._look()
        with self._deaths():
            results: list[Any] = self.client.gather(self.running)  # type: ignore[no-untyped-call]
        return results

    @contextlib.contextmanager
    def _deaths(self) -> Iterator[None]:
        """Whatever Dask raises because a worker is gone, in one sentence; other errors as they are."""
        lost = (distributed.KilledWorker, distributed.CancelledError, OSError, TimeoutError, distributed.TimeoutError)
        try:
            yield
        except Exception as problem:
            if isinstance(problem, lost) or self._missing():
                raise self._died() from problem
            raise

    def _missing(self) -> set[str]:
        # asks the scheduler; scheduler_info() is a copy that another thread may be renewing
        return self.workers - set(self.client.nthreads())  # type: ignore[no-untyped-call]

    def _look(self) -> None:
        if self._missing():
            raise self._died()

    def _died(self) -> RuntimeError:
        return RuntimeError(
            f"{len(self._missing()) or 'some'} of {len(self.workers)} workers died during the fit; nothing was "
            "changed: look at their logs (memory, most often), then start the fit again"
        )


def _whole(block: Block) -> slice:
    return slice(block[0][0], block[-1][1])


def _side(path: str, of_users: bool, block: Block) -> tuple[Array, Array, Array]:
    """The rows of a block, read from the folder."""
    start, stop = block[0][0], block[-1][1]
    with _OPENING:
        graph = BipartiteGraph.open(path)
    pointer, neighbours, weights = (
        (graph.user_ptr, graph.user_items, graph.user_weights)
        if of_users
        else (graph.item_ptr, graph.item_users, graph.item_weights)
    )
    part = slice(int(pointer[start]), int(pointer[stop]))
    local = np.asarray(pointer[start : stop + 1]) - pointer[start]
    return local, np.asarray(neighbours[part]), np.asarray(weights[part]) if weights.size else np.empty(0, np.float64)


def _propose_block(
    path: str,
    of_users: bool,
    block: Block,
    mass: Array,
    own: Array,
    other: Array,
    volume: Array,
    keepers: Array,
    scale: float,
    stay: bool,
) -> tuple[Array, Array, list[tuple[int, float]]]:
    """Targets and gains of a block, and (moves, edge weight inside) of each of its parts."""
    from ._solver import _kernels

    start = block[0][0]
    pointer, neighbours, weights = _side(path, of_users, block)
    # a worker numbers the nodes of its block from 0; what Dask delivers is read-only, for which kernels would compile
    arrays = (mass.copy(), scale, own.copy(), other.copy(), volume.copy(), keepers - start, stay)
    target, gain = np.empty(own.size, np.int32), np.empty(own.size, np.float64)
    parts = [
        _kernels.propose(pointer, neighbours, weights, *arrays, target, gain, first - start, last - start)
        for first, last in block
    ]
    return target, gain, parts


def _inside_block(path: str, of_users: bool, block: Block, own: Array, other: Array) -> list[float]:
    """Edge weight inside clusters of each part of a block."""
    from ._solver import _kernels

    start = block[0][0]
    edges, labels = _side(path, of_users, block), (own.copy(), other.copy())
    return [float(_kernels.inside_weight(*edges, *labels, first - start, last - start)) for first, last in block]
