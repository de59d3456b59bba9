"""Speed and memory against scipy and scikit-learn, in one process, with correctness checked first.

    SPK_DATA=... python packages/demm/benchmarks/speed.py [part ...]

Parts: hop, attempts, twins, spectral, scaling, large, million, mapped. The first five by default; the others
take minutes and gigabytes. Every part writes its rows; ratios are medians of interleaved repetitions.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "tools"))
import demm  # noqa: E402
from demm import MultiRelationalGraph, Relation, as_graph  # noqa: E402
from demm._graph import build_operators, normalised_adjacency  # noqa: E402
from demm.operators import NumbaBackend, RowPool  # noqa: E402
from demm.operators._threads import aligned_empty  # noqa: E402
from results import Results  # noqa: E402

CORES = len(os.sched_getaffinity(0))
REPEATS = 7
LIMIT = 240  # seconds that a peer is given for one run
LOADED = ""  # set by --note: what else the machine did, where a time was not taken alone
KEEP: Path | None = None  # set by --keep
ROUNDS = 10  # set by --rounds


def interleaved(functions: dict[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Times of each function, one after the other in every repetition, after one warm-up each."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return times


def random_pairs(n: int, entries: int, seed: int) -> np.ndarray:
    """Both directions of ``entries / 2`` random edges."""
    half = np.random.default_rng(seed).integers(0, n, (2, entries // 2), dtype=np.int32)
    return np.hstack([half, half[::-1]])


def copy_bandwidth() -> float:
    """Bytes per second read plus written by a large copy on one thread: the floor's yardstick."""
    source = np.ones(64_000_000, dtype=np.float32)
    target = np.empty_like(source)
    times = interleaved({"copy": lambda: np.copyto(target, source)})["copy"]
    return 2 * source.nbytes / statistics.median(times)


def aligned(x: np.ndarray) -> np.ndarray:
    """The panel as a fit holds it: its rows start at a cache line."""
    panel = aligned_empty(x.shape, x.dtype)
    panel[:] = x
    return panel


def hop(out: Results) -> None:
    """A random graph larger than the cache: one thread against scipy, then threads against one."""
    n, entries, d = 1_000_000, 5_000_000, 32
    read = as_graph([random_pairs(n, entries, 0)], n_nodes=n)
    reference = normalised_adjacency(read[0], np.float32)
    x = aligned(np.random.default_rng(1).standard_normal((n, d)).astype(np.float32))
    results, functions = {}, {"scipy": lambda: reference @ x}
    for threads in (1, 2):
        pool = RowPool(threads)
        backend = NumbaBackend(build_operators(read, dtype=np.float32, compress="auto", pool=pool), pool)
        results[threads] = backend.empty_like(x)

        def run(backend: NumbaBackend = backend, target: np.ndarray = results[threads]) -> None:
            backend.hop([1.0], 1.0, x, target)

        functions[f"ours {threads}"] = run
    times = interleaved(functions)
    expected = reference @ x
    difference = float(np.linalg.norm(results[1] - expected) / np.linalg.norm(expected))
    assert difference < 1e-5
    assert results[1].tobytes() == results[2].tobytes()
    ratio = [a / b for a, b in zip(times["scipy"], times["ours 1"], strict=True)]
    bandwidth = copy_bandwidth()
    moved = read.n_entries * (4 + 4 * d) + 2 * 4 * n * d
    floor = moved / bandwidth
    shape = f"{n:,} nodes, {read.n_entries:,} entries, d = {d}"
    out.add(
        table="main",
        name="random graph, one hop, one thread",
        metric="wall time",
        unit="s",
        ours=statistics.median(times["ours 1"]),
        peer=("scipy CSR", statistics.median(times["scipy"])),
        ratio=statistics.median(ratio),
        target=">= 3",
        met=statistics.median(ratio) >= 3,
        n=REPEATS,
        spread=statistics.stdev(times["ours 1"]),
        note=f"{shape}; relative difference {difference:.1e}; every byte once at this run's copy bandwidth "
        f"({bandwidth / 1e9:.1f} GB/s) would take {floor:.3f} s",
        headline="{ratio:.1f}x faster than {peer} on a random graph, one thread",
    )
    speedup = [a / b for a, b in zip(times["ours 1"], times["ours 2"], strict=True)]
    out.add(
        table="main",
        name="random graph, one hop, two threads over one",
        metric="wall time",
        unit="s",
        ours=statistics.median(times["ours 2"]),
        peer=("one thread", statistics.median(times["ours 1"])),
        ratio=statistics.median(speedup),
        target=">= 1.7",
        met=statistics.median(speedup) >= 1.7,
        n=REPEATS,
        spread=statistics.stdev(times["ours 2"]),
        note=f"{shape}; {CORES} cores; results bit-equal",
    )


def attempts(out: Results) -> None:
    """The random graph's hop in other ways, one thread: what was tried on the way to what ``hop`` measures."""
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    from demm.operators import _kernels as kernels

    n, entries, d = 1_000_000, 5_000_000, 32
    read = as_graph([random_pairs(n, entries, 0)], n_nodes=n)
    (operator,) = build_operators(read, dtype=np.float32, compress=False, pool=RowPool(1))
    indptr, indices, scale = operator.indptr, operator.indices, operator.inverse_root
    none, one = np.zeros(0, dtype=np.float32), np.float32(1)
    matrix = read[0].tocsr()
    reference = normalised_adjacency(read[0], np.float32)
    x = np.random.default_rng(1).standard_normal((n, d)).astype(np.float32)
    panel, target = aligned(x), aligned_empty(x.shape, x.dtype)
    spare, plain = aligned_empty(x.shape, x.dtype), np.empty_like(x)

    def gather(right: np.ndarray, source: np.ndarray, into: np.ndarray = target) -> None:
        kernels.add_rows(indptr, indices, none, scale, right, source, one, into, True, 0, n)

    def scaled_first(room: np.ndarray) -> None:
        np.multiply(panel, scale[:, None], out=room)
        gather(none, room)

    order = reverse_cuthill_mckee(matrix, symmetric_mode=True)
    renumbered = matrix[order][:, order]
    renumbered.sort_indices()
    near = renumbered.indptr.astype(np.int64), renumbered.indices.astype(np.int32), scale[order]

    def cuthill_mckee() -> None:
        kernels.add_rows(near[0], near[1], none, near[2], near[2], panel, one, target, True, 0, n)

    halves = [aligned(x[:, lo : lo + d // 2]) for lo in (0, d // 2)]
    half_target = aligned_empty((n, d // 2), x.dtype)

    def half_the_columns() -> None:
        for half in halves:  # kept apart for a whole fit, so the copy is not counted
            gather(scale, half, half_target)

    step = n // 8
    blocks = [sp.csr_array(matrix[:, lo : lo + step]) for lo in range(0, n, step)]
    parts = [(b.indptr.astype(np.int64), b.indices.astype(np.int32) + at * step) for at, b in enumerate(blocks)]

    def blocks_of_sources() -> None:
        for place, (starts, columns) in enumerate(parts):
            kernels.add_rows(starts, columns, none, scale, scale, panel, one, target, place == 0, 0, n)

    ways: dict[str, Callable[[], Any]] = {
        "scipy CSR": lambda: reference @ x,
        "no values, rows of the panel anywhere": lambda: gather(scale, x, plain),
        "no values, rows of the panel start at a cache line (what a hop does)": lambda: gather(scale, panel),
        "panel scaled first into a spare one, then gathered": lambda: scaled_first(plain),
        "the same, rows of the spare start at a cache line": lambda: scaled_first(spare),
        "16 columns at a time": half_the_columns,
        "8 blocks of source nodes one after the other": blocks_of_sources,
        "nodes renumbered by reverse Cuthill-McKee": cuthill_mckee,
    }
    times = interleaved(ways)
    peer = statistics.median(times["scipy CSR"])
    for name, values in times.items():
        if name == "scipy CSR":
            continue
        out.add(
            table="attempts",
            name=name,
            metric="wall time",
            unit="s",
            ours=statistics.median(values),
            peer=("scipy CSR", peer),
            ratio=peer / statistics.median(values),
            n=REPEATS,
            spread=statistics.stdev(values),
            note="",
        )


def twins(out: Results) -> None:
    """Relations of public graphs in which many nodes have the same neighbours."""
    data = os.environ.get("SPK_DATA")
    if not data:
        print("twins: SPK_DATA is not set, left out")
        return
    graphs = Path(data) / "graphs"
    acm = demm.datasets.load_acm(graphs / "acm3025").graph
    yelp = demm.datasets.load_yelp(graphs / "yelp2614").graph
    for title, matrix in (
        ("ACM PSP", acm["PSP"]),
        ("Yelp BSB", yelp["BSB"]),
        ("Yelp BLB", yelp["BLB"]),
        ("Yelp BUB", yelp["BUB"]),
    ):
        read = as_graph([matrix])
        pool = RowPool(1)
        operators = build_operators(read, dtype=np.float32, compress="auto", pool=pool)
        backend = NumbaBackend(operators, pool)
        x = np.random.default_rng(0).standard_normal((read.n_nodes, 64)).astype(np.float32)
        target = np.empty_like(x)
        reference = normalised_adjacency(read[0], np.float32)

        def ours(backend: NumbaBackend = backend, x: np.ndarray = x, target: np.ndarray = target) -> None:
            for _ in range(10):
                backend.hop([1.0], 1.0, x, target)

        def scipy(reference: Any = reference, x: np.ndarray = x) -> None:
            for _ in range(10):
                reference @ x

        # ten hops in a row, as in a fit: each finds the panel where the one before left it
        times = {name: [t / 10 for t in values] for name, values in interleaved({"ours": ours, "scipy": scipy}).items()}
        expected = reference.astype(np.float64) @ x
        difference = float(np.linalg.norm(target - expected) / np.linalg.norm(expected))
        assert difference < 1e-5
        ratio = statistics.median(times["scipy"]) / statistics.median(times["ours"])
        compressed = operators[0].kind == "twins"
        out.add(
            table="main",
            name=f"{title}, one hop, one thread",
            metric="wall time",
            unit="s",
            ours=statistics.median(times["ours"]),
            peer=("scipy CSR", statistics.median(times["scipy"])),
            ratio=ratio,
            target=">= 100" if compressed else None,
            met=ratio >= 100 if compressed else None,
            n=REPEATS,
            spread=statistics.stdev(times["ours"]),
            note=f"{read.n_entries:,} entries, d = 64, mean of 10 hops in a row; stored as {operators[0].kind}, "
            f"{read.n_entries / operators[0].n_stored:.0f}x fewer numbers; relative difference {difference:.1e}"
            + ("" if compressed else "; no equal neighbourhoods to merge: the case that twins do not help"),
            headline="{ratio:.0f}x faster than {peer} on ACM's same-subject relation" if title == "ACM PSP" else None,
        )


def planted(n: int, k: int, degree: float = 30.0) -> demm.datasets.Dataset:
    return demm.datasets.make_multirelational(
        n, k, degrees=(degree, degree), mixing=(0.2, 0.4), n_features=32, signal=1.0, random_state=0
    )


def limited(work: Callable[[Any], np.ndarray], data: Any) -> tuple[float, np.ndarray | None]:
    """Seconds and result of ``work(data)`` in a fork that is ended after ``LIMIT``; then the result is None."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def child() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            result = work(data)
            send.send((time.perf_counter() - start, result))

    process = context.Process(target=child)
    process.start()
    try:
        if not receive.poll(LIMIT):
            return float(LIMIT), None
        seconds, result = receive.recv()
        return seconds, result
    finally:
        process.kill()
        process.join()


def spectral(out: Results) -> None:
    """20,000 nodes: scikit-learn's spectral clustering on the summed graph, and DEMM's dense affinity."""
    from sklearn.cluster import SpectralClustering

    n, k = 20_000, 8
    data = planted(n, k)
    total = sp.csr_matrix(sum(data.graph.values()))
    demm.DEMMPlus(k, random_state=0).fit(data.graph, data.X)
    peers: dict[str, tuple[int, dict[str, Any]]] = {  # repetitions, options
        "scikit-learn SpectralClustering, eigen_solver='lobpcg'": (3, {"eigen_solver": "lobpcg"}),
        "scikit-learn SpectralClustering": (1, {}),
    }
    ours: list[float] = []
    for seed in range(3):
        start = time.perf_counter()
        model = demm.DEMMPlus(k, random_state=seed).fit(data.graph, data.X)
        ours.append(time.perf_counter() - start)
    accuracy = demm.metrics.accuracy(data.labels, model.labels_)
    for peer, (repeats, options) in peers.items():
        theirs: list[float] = []
        found: np.ndarray | None = None
        for seed in range(repeats):
            seconds, found = limited(
                SpectralClustering(k, affinity="precomputed", random_state=seed, **options).fit_predict, total
            )
            theirs.append(seconds)
            print(f"  {peer}: {seconds:.1f} s, ours {ours[seed]:.2f} s", flush=True)
        ratio = statistics.median(theirs) / statistics.median(ours)
        default = not options
        score = "" if found is None else f" against {100 * demm.metrics.accuracy(data.labels, found):.1f}"
        out.add(
            table="main",
            name="20,000 nodes, complete fit" if default else "20,000 nodes, complete fit, the peer's fastest setting",
            metric="wall time",
            unit="s",
            ours=statistics.median(ours),
            peer=(peer, statistics.median(theirs)),
            ratio=ratio,
            target=">= 50",
            met=ratio >= 50,
            n=3,
            spread=statistics.stdev(ours),
            note=f"{total.nnz:,} entries summed, K = {k}; peer run {len(theirs)} x"
            + (f", ended unfinished after {LIMIT} s: its time and the ratio are lower bounds" if found is None else "")
            + f"; accuracy {100 * accuracy:.1f}{score}{LOADED}",
            headline="{ratio:.0f}x faster than {peer} at 20,000 nodes" if default else None,
        )
    tracemalloc.start()
    demm.DEMMPlus(k, random_state=0).fit(data.graph, data.X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    from demm._dense import dense_affinity

    affinity = dense_affinity(model.features_.astype(np.float64), 1.0)
    dense_peak = tracemalloc.get_traced_memory()[1]
    del affinity
    tracemalloc.stop()
    out.add(
        table="main",
        name="20,000 nodes, peak memory of a fit",
        metric="memory",
        unit="MB",
        ours=peak / 1e6,
        peer=("DEMM's dense affinity", dense_peak / 1e6),
        ratio=dense_peak / peak,
        target=">= 100",
        met=dense_peak / peak >= 100,
        n=1,
        note="allocations as tracemalloc sees them, beyond the input; no array of more than nodes squared / 100",
    )


def scaling(out: Results) -> None:
    """Twice the nodes at equal density, and twice the clusters."""
    fits: dict[tuple[int, int], list[float]] = {}
    for n, k in ((100_000, 10), (200_000, 10), (100_000, 20)):
        data = planted(n, k, 10.0)
        times = []
        for seed in range(3):
            model = demm.DEMMPlus(k, max_iter=5, tol=0, random_state=seed).fit(data.graph, data.X)
            times.append(model.timings_["total"])
        fits[n, k] = times
        print(f"  {n:,} nodes, K = {k}: {statistics.median(times):.2f} s", flush=True)
    base = statistics.median(fits[100_000, 10])
    for title, key, limit in (
        ("200,000 nodes over 100,000 at equal density", (200_000, 10), 2.3),
        ("K = 20 over K = 10 at 100,000 nodes", (100_000, 20), 2.2),
    ):
        time_ = statistics.median(fits[key])
        out.add(
            table="main",
            name=title,
            metric="wall time",
            unit="s",
            ours=time_,
            peer=("100,000 nodes, K = 10", base),
            ratio=time_ / base,
            target=f"<= {limit}",
            met=time_ / base <= limit,
            n=3,
            spread=statistics.stdev(fits[key]),
            note="two relations of 10 entries a node, d = 32, 5 rounds; median of 3 seeds; a ratio of times, "
            "so lower is better",
        )


class PeakMemory:
    """Highest resident set of this process while the block runs, sampled, minus what was there before."""

    def __enter__(self) -> PeakMemory:
        self.before = self.peak = self._resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @staticmethod
    def _resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.peak = max(self.peak, self._resident())


def random_relation(name: str, n: int, entries: int, seed: int) -> Relation:
    """A symmetric random relation without going through the checks of 20 million given pairs."""
    kept = None if KEEP is None else KEEP / f"random-{n}-{entries}-{seed}.npz"
    if kept is not None and kept.exists():
        with np.load(kept) as arrays:
            return Relation(name, arrays["indptr"], arrays["indices"])
    half = np.random.default_rng(seed).integers(0, n, (2, entries // 2), dtype=np.int32)
    ones = np.ones(half.shape[1], dtype=np.int8)
    upper = sp.csr_array((ones, (half[0], half[1])), shape=(n, n))
    matrix = sp.csr_array(upper + upper.T)
    matrix.sort_indices()
    relation = Relation(name, matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))
    if kept is not None:
        np.savez(kept, indptr=relation.indptr, indices=relation.indices)
    return relation


def large_fit(out: Results, n: int, entries: int, d: int, minutes: float, *, mapped: bool = False) -> None:
    k, rounds = 20, ROUNDS
    graph = MultiRelationalGraph(tuple(random_relation(f"r{r}", n, entries, r) for r in range(3)), n)
    X = np.random.default_rng(9).standard_normal((n, d)).astype(np.float32)
    source: Any = graph
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"demm-speed-{os.getpid()}"
    if mapped:
        demm.save_store(folder, graph, X)
        source = folder
        del graph
    held = sum(r.indptr.nbytes + r.indices.nbytes for r in graph) + X.nbytes if not mapped else 0
    options = {"memory_limit": "1.5GB", "workdir": str(folder)} if mapped else {}
    small = planted(2000, 3)  # loads the libraries and the compiled code, which are not the fit's memory
    demm.DEMMPlus(3, random_state=0).fit(small.graph, small.X)
    with PeakMemory() as memory:
        start = time.perf_counter()
        model = demm.DEMMPlus(k, max_iter=rounds, tol=0, features="none", random_state=0, **options).fit(
            source, None if mapped else X
        )
        seconds = time.perf_counter() - start
    if mapped:
        import shutil

        shutil.rmtree(folder)
    timings = ", ".join(f"{name} {value:.0f} s" for name, value in model.timings_.items())
    title = f"{n:,} nodes, 3 x {entries // 10**6} million entries, d = {d}" + (", memory-mapped" if mapped else "")
    if rounds == 10:  # fewer rounds need the memory of ten, not their time
        out.add(
            table="main",
            name=f"{title}, complete fit",
            metric="wall time",
            unit="s",
            ours=seconds,
            target=f"<= {60 * minutes:.0f}",
            met=seconds <= 60 * minutes,
            n=1,
            note=f"{CORES} threads, {rounds} rounds, K = {k}; {timings}{LOADED}",
        )
    panels = 4 * n * d * 4
    if mapped:
        out.add(
            table="main",
            name=f"{title}, resident memory",
            metric="memory",
            unit="GB",
            ours=memory.peak / 1e9,
            target="<= 6",
            met=memory.peak / 1e9 <= 6,
            n=1,
            note=f"peak resident set of the whole process, mapped pages included; {rounds} round(s)",
        )
    else:
        out.add(
            table="main",
            name=f"{title}, peak memory beyond the input",
            metric="memory",
            unit="GB",
            ours=(memory.peak - memory.before) / 1e9,
            ratio=(memory.peak - memory.before) / panels,
            target="<= 4 N d 4 bytes",
            met=memory.peak - memory.before <= panels,
            n=1,
            note=f"resident set, sampled, after a small fit that loads the libraries; 4 N d 4 bytes are "
            f"{panels / 1e9:.2f} GB; the input is {held / 1e9:.2f} GB; {rounds} round(s)",
        )


def large(out: Results) -> None:
    large_fit(out, 200_000, 10_000_000, 64, 2.5)


def million(out: Results) -> None:
    large_fit(out, 1_000_000, 20_000_000, 64, 12.0)


def mapped(out: Results) -> None:
    large_fit(out, 1_000_000, 20_000_000, 64, 12.0, mapped=True)


PARTS = {
    "hop": hop,
    "attempts": attempts,
    "twins": twins,
    "spectral": spectral,
    "scaling": scaling,
    "large": large,
    "million": million,
    "mapped": mapped,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", default=["hop", "attempts", "twins", "spectral", "scaling"], help=", ".join(PARTS)
    )
    parser.add_argument("--keep", type=Path, help="folder for the generated graphs of large, million and mapped")
    parser.add_argument("--note", default="", help="added to the rows of spectral, large, million and mapped")
    parser.add_argument("--rounds", type=int, default=10, help="below 10 large, million and mapped give memory alone")
    given = parser.parse_args()
    parts = given.parts
    global KEEP, LOADED, ROUNDS
    ROUNDS = given.rounds
    KEEP, LOADED = given.keep, f"; {given.note}" if given.note else ""
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"got {', '.join(unknown)}, expected some of {', '.join(PARTS)}")
    fewer = [] if ROUNDS == 10 else [f"--rounds {ROUNDS}"]
    command = " ".join(["python packages/demm/benchmarks/speed.py", *fewer, *parts])  # --keep is one's own
    out = Results("demm", "speed", threads=CORES, resume=True, command=command)
    for part in parts:
        print(part, flush=True)
        PARTS[part](out)
        out.write()
    for row in out.rows:
        ratio = "" if row["ratio"] is None else f"ratio {row['ratio']:.2f}"
        print(f"{row['name']}: {row['ours']:.4g} {row['unit']} {ratio} target {row['target']} met {row['met']}")


if __name__ == "__main__":
    main()
