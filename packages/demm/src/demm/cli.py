"""The command ``demm``: thin over the package, heavy imports inside the commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from demm._graph import MultiRelationalGraph

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Jobs = Annotated[int, typer.Option(help="Threads; -1 takes all cores.")]


def main() -> None:
    """Entry point: our own errors are one line on stderr and exit code 2."""
    try:
        app()
    except (ValueError, TypeError, ImportError, OSError) as error:
        message = " ".join(str(error).split())
        print(f"demm: {message}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


def _echo(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result))
        return
    for key, value in result.items():
        typer.echo(f"{key}: {value}")


def _warnings_to_stderr() -> None:
    import warnings

    def show(message: Any, *_: Any, **__: Any) -> None:
        print(f"demm: warning: {message}", file=sys.stderr)  # noqa: T201

    warnings.showwarning = show


def _open(path: Path, attributes: Path | None) -> tuple[Any, Any, Any]:
    """Graph, attributes and node ids of a store or an edge table."""
    import numpy as np

    from demm import io

    ids = None
    graph: MultiRelationalGraph | dict[str, Any]
    if path.is_dir():
        graph = io.load_store(path)
        n = graph.n_nodes
        names = path / "ids.npy"
        ids = np.load(names, allow_pickle=False) if names.exists() else None
        X = graph.X
    else:
        graph, ids = io.read_edges(path)
        n, X = ids.shape[0], None
    if attributes is not None:
        X = _read_attributes(attributes)
    return graph, X, np.arange(n) if ids is None else ids


def _read_attributes(path: Path) -> Any:
    import numpy as np
    import scipy.sparse as sp

    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; expected attributes as .npy or scipy's sparse .npz")
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False)
    if path.suffix == ".npz":
        return sp.load_npz(path)
    raise ValueError(f"{path.name}: got suffix {path.suffix!r}, expected .npy, or .npz of scipy.sparse.save_npz")


def _write_labels(path: Path, ids: Any, labels: Any) -> None:
    import os
    import tempfile

    if path.suffix not in (".csv", ".npy", ".parquet"):
        raise ValueError(f"{path.name}: got suffix {path.suffix!r}, expected .csv, .npy or .parquet")
    descriptor, name = tempfile.mkstemp(dir=path.parent if str(path.parent) else ".", prefix=f".{path.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        if path.suffix == ".npy":
            import numpy as np

            with temporary.open("wb") as file:
                np.save(file, labels, allow_pickle=False)
        elif path.suffix == ".csv":
            with temporary.open("w", encoding="utf-8", newline="\n") as text:
                text.write("node,label\n")
                text.writelines(f"{node},{label}\n" for node, label in zip(ids, labels, strict=True))
        else:
            try:
                import pyarrow
                import pyarrow.parquet as parquet
            except ImportError as error:
                raise ImportError('writing parquet needs pyarrow: pip install "demm[parquet]"') from error
            parquet.write_table(pyarrow.table({"node": ids, "label": labels}), temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"demm {version('demm')}")
        raise typer.Exit


@app.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Cluster a graph with many kinds of edges."""


@app.command()
def fit(
    graph: Annotated[Path, typer.Argument(help="Store folder, or edge table (.csv, .tsv, .parquet).")],
    k: Annotated[int, typer.Option("--k", help="Number of clusters.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Labels: .csv, .npy or .parquet.")],
    x: Annotated[Path | None, typer.Option("--x", help="Attributes: .npy or sparse .npz.")] = None,
    alpha: Annotated[float, typer.Option(help="Smoothness against fidelity.")] = 4.0,
    beta: Annotated[float, typer.Option(help="Penalty on sparse relations.")] = 4.0,
    hops: Annotated[int, typer.Option(help="Hops per round.")] = 10,
    components: Annotated[int, typer.Option(help="Dimensions of the PCA.")] = 128,
    features: Annotated[str, typer.Option(help="auto, tfidf, l2, standardize, none or precomputed.")] = "auto",
    weights: Annotated[str, typer.Option(help="learn or uniform.")] = "learn",
    auto: Annotated[bool, typer.Option("--auto", help="Choose settings without labels first.")] = False,
    model: Annotated[Path | None, typer.Option(help="Also save the fitted model to this folder.")] = None,
    seed: Seed = 0,
    jobs: Jobs = -1,
    as_json: Json = False,
) -> None:
    """Cluster the nodes of a graph and write one label per node."""
    _warnings_to_stderr()
    from demm import DEMMPlus

    if out.suffix not in (".csv", ".npy", ".parquet"):
        raise ValueError(f"{out.name}: got suffix {out.suffix!r}, expected .csv, .npy or .parquet")
    relations, X, ids = _open(graph, x)
    estimator = DEMMPlus(
        k,
        alpha=alpha,
        beta=beta,
        n_hops=hops,
        n_components=components,
        features=features,
        relation_weights=weights,
        n_trials="auto" if auto else None,
        random_state=seed,
        n_jobs=jobs,
        verbose=1,
    ).fit(relations, X)
    _write_labels(out, ids, estimator.labels_)
    if model is not None:
        estimator.save(model)
    _echo(
        {
            "nodes": int(estimator.labels_.shape[0]),
            "clusters": k,
            "relation_weights": {
                name: round(float(w), 4)
                for name, w in zip(estimator.relation_names_, estimator.relation_weights_, strict=True)
            },
            "energy": round(estimator.energy_, 4),
            "rounds": estimator.n_iter_,
            "seconds": round(estimator.timings_["total"], 3),
            "labels": str(out),
        },
        as_json,
    )


@app.command()
def convert(
    edges: Annotated[Path, typer.Argument(help="Edge table with columns src, dst, relation[, weight].")],
    store: Annotated[Path, typer.Argument(help="Folder to write.")],
    x: Annotated[Path | None, typer.Option("--x", help="Attributes: .npy or sparse .npz, in node order.")] = None,
    as_json: Json = False,
) -> None:
    """Turn an edge table into a store that fit can memory-map."""
    _warnings_to_stderr()
    import numpy as np

    from demm import io

    graph, ids = io.read_edges(edges)
    io.save_store(store, graph, None if x is None else _read_attributes(x))
    np.save(store / "ids.npy", ids.astype(str) if ids.dtype == object else ids, allow_pickle=False)
    _echo(
        {
            "store": str(store),
            "nodes": int(ids.shape[0]),
            "relations": {k: int(a.nnz) for k, a in graph.items()},
        },
        as_json,
    )


@app.command()
def info(
    graph: Annotated[Path, typer.Argument(help="Store folder or edge table.")],
    components: Annotated[int, typer.Option(help="Dimensions assumed for the memory estimate.")] = 128,
    as_json: Json = False,
) -> None:
    """Nodes, edges, how far each relation compresses, and what a fit would need."""
    _warnings_to_stderr()
    import numpy as np

    from demm import as_graph
    from demm._graph import build_operators
    from demm.operators import RowPool

    relations, X, ids = _open(graph, None)
    read = as_graph(relations, n_nodes=len(ids))
    with RowPool() as pool:
        operators = build_operators(read, dtype=np.float32, compress="auto", pool=pool)
    d = min(components, X.shape[1]) if X is not None else components
    described = {
        relation.name: {
            "entries": operator.n_entries,
            "form": operator.kind,
            "compression": round(operator.n_entries / max(1, operator.n_stored), 1),
            "isolated_nodes": int((operator.inverse_root == 0).sum()),
            "megabytes": round(operator.nbytes() / 1e6, 1),
        }
        for relation, operator in zip(read, operators, strict=True)
    }
    total = sum(operator.nbytes() for operator in operators) + 4 * read.n_nodes * d * 4
    _echo(
        {
            "nodes": read.n_nodes,
            "attributes": None if X is None else int(X.shape[1]),
            "relations": described,
            "estimated_memory_mb": round(total / 1e6, 1),
        },
        as_json,
    )


@app.command()
def search(
    graph: Annotated[Path, typer.Argument(help="Store folder or edge table.")],
    k: Annotated[list[int], typer.Option("--k", help="Number of clusters; repeat to compare several.")],
    x: Annotated[Path | None, typer.Option("--x", help="Attributes: .npy or sparse .npz.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Labels of the best setting.")] = None,
    trials: Annotated[int | None, typer.Option(help="Settings to try; all by default.")] = None,
    seed: Seed = 0,
    jobs: Jobs = -1,
    as_json: Json = False,
) -> None:
    """Choose settings without labels and say why."""
    _warnings_to_stderr()
    from demm import search as run_search

    relations, X, ids = _open(graph, x)
    result = run_search(
        relations,
        X,
        list(k),
        n_trials="auto" if trials is None else trials,
        random_state=seed,
        n_jobs=jobs,
        verbose=1,
    )
    if out is not None:
        _write_labels(out, ids, result.labels_)
    best = {key: value for key, value in result.best_trial.items() if key in result.best_params}
    if as_json:
        _echo({"best": best, "agreement": result.agreement, "warnings": result.warnings}, True)
    else:
        typer.echo(result.summary())


@app.command()
def bench(
    nodes: Annotated[int, typer.Option(min=1000, help="Nodes of the random graph.")] = 100_000,
    degree: Annotated[int, typer.Option(min=1, help="Entries per node.")] = 10,
    columns: Annotated[int, typer.Option(min=1, help="Columns of the dense panel.")] = 32,
    jobs: Jobs = -1,
    as_json: Json = False,
) -> None:
    """Time one hop on this machine against scipy, on a random graph."""
    import time

    import numpy as np

    from demm import as_graph
    from demm._graph import build_operators, normalised_adjacency
    from demm.operators import NumbaBackend, RowPool

    rng = np.random.default_rng(0)
    half = rng.integers(0, nodes, (2, nodes * degree // 2))
    read = as_graph([np.hstack([half, half[::-1]])], n_nodes=nodes)
    x = rng.standard_normal((nodes, columns)).astype(np.float32)
    reference = normalised_adjacency(read[0], np.float32)
    with RowPool(jobs) as pool:
        backend = NumbaBackend(build_operators(read, dtype=np.float32, compress="auto", pool=pool), pool)
        out = np.empty_like(x)
        backend.hop([1.0], 1.0, x, out)
        ours, theirs = [], []
        for _ in range(7):
            start = time.perf_counter()
            backend.hop([1.0], 1.0, x, out)
            middle = time.perf_counter()
            expected = reference @ x
            theirs.append(time.perf_counter() - middle)
            ours.append(middle - start)
    _echo(
        {
            "nodes": nodes,
            "entries": read.n_entries,
            "columns": columns,
            "hop_ms": round(1e3 * float(np.median(ours)), 2),
            "scipy_ms": round(1e3 * float(np.median(theirs)), 2),
            "times_faster": round(float(np.median(theirs) / np.median(ours)), 2),
            "largest_relative_difference": float(np.abs(out - expected).max() / np.abs(expected).max()),
        },
        as_json,
    )


if __name__ == "__main__":
    main()
