"""Fits on many machines: Dask workers sweep blocks of users and items, one process puts them together.

Needs the extra ``baco[dask]``. A half-sweep reads only the other side's labels and volumes, so blocks of one side
are independent: the labels are those of one machine, bit for bit.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._mapped import drop_pages, is_graph
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
#: Consecutive ranges of nodes; a worker takes a run of them on each side.
Parts = list[tuple[int, int]]
#: How often, in seconds, a wait looks whether every worker is still there.
_LOOK = 1.0


def fit(model: BACO, graph: str | Path, client: distributed.Client) -> BACO:
    """`BACO.fit` with its half-sweeps on the workers of a Dask cluster.

    Args:
        model: as for a fit on one machine; ``order="alternating"``, which the others have no parallel form of.
        graph: folder that `BipartiteGraph.save` or `baco.ingest.ingest` wrote, under a path that every worker can
            read. A worker maps its share of the edges, and sweeps it with as many threads as Dask gave it; the
            calling process holds labels, not edges.
        client: of the cluster. Choosing second codes, and merging where sweeps stall, pass over the mapped edges in
            the calling process.
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
    threads: dict[str, int] = client.nthreads()  # type: ignore[no-untyped-call]
    if not threads:
        raise ValueError("the cluster has no worker; wait for one with client.wait_for_workers(1)")
    path = str(Path(graph).resolve())
    with _Team(client, threads, path) as team:
        model._check()
        return model._fit(BipartiteGraph.open(path), team.engine)


class _Team:
    """The workers of a fit. Each keeps its share of a graph from one half-sweep to the next, as a Dask actor."""

    def __init__(self, client: distributed.Client, threads: dict[str, int], path: str) -> None:
        self.client, self.threads, self.path = client, threads, path
        self.members: list[Any] = []
        self.kept: list[Any] = []

    def __enter__(self) -> _Team:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(Exception):  # after a death there may be nobody left to tell
            self.client.cancel(self.kept)  # type: ignore[no-untyped-call]

    def engine(self, model: BACO, problem: Problem) -> Alternating:
        from ._solver.sweeps import Alternating

        team = self

        class Distributed(Alternating):
            """`Alternating` whose proposals and sums over edges come from the workers."""

            def _propose(self, side: Any, other: Any, gamma: float, keepers: Array) -> tuple[int, float]:
                users = side is self.users
                done = team.all(
                    "propose",
                    lambda share: (users, side.labels[share[users]], other.labels, keepers, gamma / self.norm),
                )
                for share, (target, gain, _) in zip(team.shares, done, strict=True):
                    side.target[share[users]], side.gain[share[users]] = target, gain
                # summed over the parts that one machine sums over, in their order: the same to the last bit
                parts = [part for _, _, parts in done for part in parts]
                return sum(moves for moves, _ in parts), float(sum(inside for _, inside in parts))

            def inside(self) -> float:
                done = team.all("inside", lambda share: (self.users.labels[share[True]], self.items.labels))
                return float(sum(part for parts in done for part in parts))

        masses = (problem.user_mass, problem.item_mass, problem.norm)
        engine = Distributed(problem.graph, *masses, stay=model.stay, n_jobs=1)
        self.gather(engine)
        return engine

    def gather(self, engine: Alternating) -> None:
        """A share of both sides for each worker: runs of parts of about equal numbers of edges."""
        names = sorted(self.threads)
        runs = {True: _runs(engine.users.blocks, len(names)), False: _runs(engine.items.blocks, len(names))}
        self.shares = [{side: _whole(runs[side][number]) for side in runs} for number in range(len(names))]
        with self._deaths():
            masses = [engine.users.mass, engine.items.mass]
            shared = self.client.scatter(masses, broadcast=True, hash=False)  # type: ignore[no-untyped-call]
            self.kept = [
                self.client.submit(
                    _Share,
                    self.path,
                    {side: runs[side][number] for side in runs},
                    *shared,
                    engine.n_labels,
                    engine.stay,
                    self.threads[name],
                    actor=True,
                    pure=False,
                    workers=[name],
                    allow_other_workers=False,
                )
                for number, name in enumerate(names)
            ]
        self.members = [self._result(future) for future in self.kept]

    def all(self, method: str, arguments: Any) -> list[Any]:
        """What a method of every share returns, in order; RuntimeError as soon as a worker is missing."""
        with self._deaths():
            calls = [
                getattr(member, method)(*arguments(share))
                for member, share in zip(self.members, self.shares, strict=True)
            ]
        return [self._result(call) for call in calls]

    def _result(self, call: Any) -> Any:
        while True:
            with self._deaths():
                try:
                    return call.result(timeout=_LOOK)
                except (TimeoutError, distributed.TimeoutError):
                    if self._missing():
                        raise

    @contextlib.contextmanager
    def _deaths(self) -> Iterator[None]:
        """Whatever Dask raises because a worker is gone, in one sentence; other errors as they are."""
        lost = (distributed.KilledWorker, distributed.CancelledError, OSError, TimeoutError, distributed.TimeoutError)
        try:
            yield
        except Exception as problem:
            if isinstance(problem, lost) or self._missing():
                raise RuntimeError(
                    f"{len(self._missing()) or 'some'} of {len(self.threads)} workers died during the fit; nothing was "
                    "changed: look at their logs (memory, most often), then start the fit again"
                ) from problem
            raise

    def _missing(self) -> set[str]:
        # asks the scheduler; scheduler_info() is a copy that another thread may be renewing
        return set(self.threads) - set(self.client.nthreads())  # type: ignore[no-untyped-call]


class _Share:
    """A worker's part of the graph, mapped, by side (True: users)."""

    def __init__(
        self,
        path: str,
        parts: dict[bool, Parts],
        user_mass: Array,
        item_mass: Array,
        n_labels: int,
        stay: bool,
        threads: int,
    ) -> None:
        graph = BipartiteGraph.open(path)
        self.edges = {
            True: (graph.user_ptr, graph.user_items, graph.user_weights),
            False: (graph.item_ptr, graph.item_users, graph.item_weights),
        }
        # what Dask delivers is read-only, for which kernels would be compiled anew
        self.mass = {True: user_mass.copy(), False: item_mass.copy()}
        self.parts, self.n_labels, self.stay, self.threads = parts, n_labels, stay, threads

    def propose(
        self, users: bool, own: Array, other: Array, keepers: Array, scale: float
    ) -> tuple[Array, Array, list[tuple[int, float]]]:
        """Targets and gains of the share's nodes, and (moves, edge weight inside) of each part."""
        from ._solver import _kernels
        from ._solver.blocks import run_blocks

        parts = self.parts[users]
        share = _whole(parts)
        pointer, neighbours, weights = self.edges[users]
        labels, others = self._labels(users, own), other.copy()
        volume = np.bincount(others, self.mass[not users], minlength=self.n_labels)
        target, gain = np.empty(labels.size, np.int32), np.empty(labels.size, np.float64)
        fixed = (pointer, neighbours, weights, self.mass[users], scale, labels, others, volume, keepers.copy())

        def work(start: int, stop: int) -> tuple[int, float]:
            done: tuple[int, float] = _kernels.propose(*fixed, self.stay, target, gain, start, stop)
            for array in (neighbours, weights):
                drop_pages(array, int(pointer[start]), int(pointer[stop]))
            return done

        told = run_blocks(work, parts, self.threads)
        return target[share], gain[share], told

    def inside(self, own: Array, other: Array) -> list[float]:
        """Edge weight inside clusters of each part of the share's users."""
        from ._solver import _kernels
        from ._solver.blocks import run_blocks

        labels, others = self._labels(True, own), other.copy()
        edges = self.edges[True]
        return run_blocks(
            lambda start, stop: float(_kernels.inside_weight(*edges, labels, others, start, stop)),
            self.parts[True],
            self.threads,
        )

    def _labels(self, users: bool, own: Array) -> Array:
        """Labels by the numbers that nodes have in the whole graph; only the share's are filled in."""
        labels = np.empty(self.mass[users].size, np.int32)
        labels[_whole(self.parts[users])] = own
        return labels


def _runs(parts: Parts, n_workers: int) -> list[Parts]:
    """Parts in consecutive runs, one for each worker; the last may be left with none."""
    cuts = np.linspace(0, len(parts), n_workers + 1).round().astype(int)
    return [parts[first:last] for first, last in itertools.pairwise(cuts)]


def _whole(parts: Parts) -> slice:
    return slice(parts[0][0], parts[-1][1]) if parts else slice(0, 0)
