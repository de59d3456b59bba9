"""Mapped graphs, DuckDB and Dask: the same labels from beyond memory and beyond one machine."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baco import BACO, BipartiteGraph
from baco.datasets import make_coclusters
from baco.io import read_csv, read_interactions

SAME = ("row_labels_", "column_labels_", "secondary_", "gamma_", "history_", "search_path_", "objective_")


@pytest.fixture(scope="module")
def planted() -> BipartiteGraph:
    return make_coclusters(400, 300, 12, random_state=0).graph


def equal(one: BipartiteGraph, other: BipartiteGraph) -> bool:
    names = ("user_ptr", "user_items", "user_weights", "item_ptr", "item_users", "item_weights", "user_ids", "item_ids")
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return all((a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in pairs)


# --- mapped


def test_a_mapped_graph_gives_the_same_fit(planted, tmp_path, monkeypatch):
    from baco._solver import blocks

    monkeypatch.setattr(blocks, "EDGES_PER_BLOCK", 500)  # several blocks, each let go after its sweep
    ids = np.array([f"u{k:03}" for k in range(planted.n_users)])
    weighted = planted.to_scipy()
    weighted.data = np.arange(weighted.nnz) % 5 + 1.0
    for graph in (planted, BipartiteGraph.from_scipy(weighted, user_ids=ids)):
        folder = graph.save(tmp_path / "log")
        mapped = BipartiteGraph.open(folder)
        assert isinstance(mapped.user_items, np.memmap)
        assert equal(mapped, graph)
        here, there = BACO(ratio=0.3, n_jobs=2).fit(graph), BACO(ratio=0.3, n_jobs=2).fit(mapped)
        assert here.codebook_ == there.codebook_
        assert all(np.array_equal(getattr(here, name), getattr(there, name)) for name in SAME)
        assert equal(BipartiteGraph.open(folder), graph), "a fit wrote to the files"
    assert equal(read_interactions(folder), graph)


MEMORY = """
import json, sys
import numpy as np
from baco import BACO, BipartiteGraph
def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))
def fit(folder):
    graph = BipartiteGraph.open(folder)
    return BACO(gamma=0.5, secondary=None, n_jobs=1).fit(graph)
fit(sys.argv[1])  # what it imports and compiles stays
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
model = fit(sys.argv[2])
print(json.dumps({"peak": status("VmHWM") - before, "labels": int(model.row_labels_.sum())}))
"""


def test_a_mapped_fit_does_not_hold_the_edges(planted, tmp_path):
    """Resident memory follows ids, file pages included: 2.5 million edges in both directions are 20 MB."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("reads the peak from Linux's /proc")
    rng = np.random.default_rng(0)
    items = np.sort(rng.integers(0, 4000, (25_000, 100)).astype(np.int32), axis=1)
    with pytest.warns(UserWarning, match="repeat"):
        graph = BipartiteGraph.from_arrays(
            np.repeat(np.arange(25_000), 100), items.ravel(), n_users=25_000, n_items=4000
        )
    graph.save(tmp_path / "log")
    planted.save(tmp_path / "small")
    command = [sys.executable, "-c", MEMORY, tmp_path / "small", tmp_path / "log"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert told["labels"] == BACO(gamma=0.5, secondary=None, n_jobs=1).fit(graph).row_labels_.sum()
    assert told["peak"] < 0.6 * 8 * graph.n_edges


def test_bad_folders(planted, tmp_path):
    with pytest.raises(ValueError, match="is no graph of baco's"):
        BipartiteGraph.open(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(ValueError, match="exists and is no graph"):
        planted.save(tmp_path / "mine")
    folder = planted.save(tmp_path / "log")
    np.save(folder / "user_items.npy", np.zeros(3, np.int32))
    with pytest.raises(ValueError, match=r"user_items.npy has shape \(3,\), expected"):
        BipartiteGraph.open(folder)
    planted.save(folder)  # over the damaged one
    assert equal(BipartiteGraph.open(folder), planted)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log", "mine"]


# --- DuckDB


@pytest.fixture(params=["at once", "in ranges"])
def ingest(request, monkeypatch):
    """The function, for logs that fit in memory and as it is for those that do not."""
    pytest.importorskip("duckdb")
    from baco import ingest

    if request.param == "in ranges":
        monkeypatch.setattr(ingest, "TEXT_AT_ONCE", 0)
    return ingest.ingest


@st.composite
def logs(draw):
    """Lines of a log, with repeats, and whether its ids are text and its pairs weighted."""
    text, weighted = draw(st.booleans()), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    n = int(rng.integers(1, 40))
    users, items = rng.integers(-5, 9, n), rng.integers(0, 7, n)
    name = (lambda k: f"id {k}, é") if text else str
    lines = [f'"{name(u)}",{i},{1 + i % 3}' for u, i in zip(users.tolist(), items.tolist(), strict=True)]
    return "user_id,item_id,w\n" + "\n".join(lines) + "\n", weighted


@given(logs(), st.sampled_from([1, 3, None]))
@settings(max_examples=12)
@pytest.mark.filterwarnings("ignore:.*repeat a")
def test_duckdb_builds_the_graph_that_the_reader_gives(tmp_path_factory, log, edges_at_once):
    ingest = pytest.importorskip("baco.ingest")
    pytest.importorskip("duckdb")
    folder = tmp_path_factory.mktemp("log")
    (folder / "log.csv").write_text(log[0], encoding="utf-8")
    weight = "w" if log[1] else None
    with pytest.MonkeyPatch.context() as patched:
        if edges_at_once is not None:
            patched.setattr(ingest, "EDGES_AT_ONCE", edges_at_once)
            patched.setattr(ingest, "TEXT_AT_ONCE", 0)
        built = ingest.ingest(folder / "log.csv", folder / "graph", weight=weight, threads=1)
    assert equal(built, read_csv(folder / "log.csv", weight=weight))
    assert sorted(one.name for one in folder.iterdir()) == ["graph", "log.csv"]


def test_duckdb_filters_and_reads_parquet_and_gzip(tmp_path):
    pytest.importorskip("duckdb")
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    from baco.ingest import ingest

    rows = {"user": ["a", "a", "b", "c", "a"], "item": [1, 2, 1, 3, 2], "stars": [5.0, 4.0, 2.0, 5.0, 4.0]}
    parquet.write_table(pa.table(rows), tmp_path / "one.parquet")
    parquet.write_table(pa.table(rows), tmp_path / "two.parquet")
    files = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    graph = ingest(files, tmp_path / "graph", weight="stars", where="stars >= 4", min_user=3, threads=1)
    assert graph.user_ids.tolist() == ["a"]
    assert graph.item_ids.tolist() == [1, 2]
    assert graph.user_weights.tolist() == [10.0, 16.0]
    with gzip.open(tmp_path / "log.csv.gz", "wt") as file:
        file.write("user,item\n007,x\n8,y\n")
    text = ingest(tmp_path / "log.csv.gz", tmp_path / "graph", text_ids=True, threads=1)
    assert text.user_ids.tolist() == ["007", "8"]
    assert BACO(rows=2).fit(text).codebook_.n_rows == 2


def test_ids_with_few_interactions_are_dropped_users_first(tmp_path, ingest):
    (tmp_path / "log.csv").write_text("user,item,w\n1,7,2\n1,7,1\n1,8,4\n2,9,1\n3,8,1\n3,9,0\n")
    graph = ingest(tmp_path / "log.csv", tmp_path / "graph", weight="w", min_user=2, min_item=2, threads=1)
    assert (graph.user_ids.tolist(), graph.item_ids.tolist()) == ([1, 3], [7, 8])
    assert graph.to_scipy().toarray().tolist() == [[3, 4], [0, 1]]
    assert graph.weighted


@pytest.mark.parametrize("step", ["fits", "read", "by_item"])
def test_an_interrupted_build_leaves_nothing_and_a_rerun_starts_clean(tmp_path, monkeypatch, step):
    pytest.importorskip("duckdb")
    from baco import ingest

    (tmp_path / "log.csv").write_text("user,item\n1,2\n1,3\n4,2\n")
    arguments = (tmp_path / "log.csv", tmp_path / "graph")

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ingest, "TEXT_AT_ONCE", 0)
        patched.setattr(ingest._Build, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest.ingest(*arguments, threads=1)
    assert os.listdir(tmp_path) == ["log.csv"]
    # what a process leaves that was killed between its steps: half a graph, and DuckDB's file of another version
    left = tmp_path / ".graph.building"
    (left / "spill").mkdir(parents=True)
    (left / "log.duckdb").write_bytes(b"no database")
    (left / "user_items.npy").write_bytes(b"half a heading")
    assert ingest.ingest(*arguments, threads=1).n_edges == 3
    assert sorted(os.listdir(tmp_path)) == ["graph", "log.csv"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("user,item\n1,\n", {}, "1 of 1 interactions lack a user or an item"),
        ("user,item,w\n1,2,-1\n", {"weight": "w"}, "1 of 1 weights are missing, negative"),
        ("user,item,w\n1,2,\n", {"weight": "w"}, "1 of 1 weights are missing, negative"),
        ("user,item,w\n1,2,0\n", {"weight": "w"}, "every interaction has weight 0"),
        ("user,item\n1,2\n", {"where": "item > 5"}, "has no interactions that meet"),
        ("user,item\n1,2\n", {"where": "nonsense = 1"}, "DuckDB cannot read"),
        ("user,item\n1,2\n", {"user": "who"}, "no column 'who'"),
        ("user,item\n1,2\n", {"min_user": 2}, "no user has 2 interactions"),
        ("user,item\n1,2\n", {"min_item": 0}, "min_item must be an integer >= 1"),
    ],
)
def test_bad_logs_leave_nothing(tmp_path, ingest, content, options, message):
    (tmp_path / "log.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        ingest(tmp_path / "log.csv", tmp_path / "graph", threads=1, **options)
    assert os.listdir(tmp_path) == ["log.csv"]


# --- Dask


@pytest.mark.filterwarnings("ignore")  # of Dask's own loops and ports
@pytest.mark.parametrize(
    "processes", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["workers in threads", "workers in processes"]
)
def test_two_workers_give_the_labels_of_one_machine_and_a_death_is_told(planted, tmp_path, monkeypatch, processes):
    distributed = pytest.importorskip("distributed")
    import baco.dask
    from baco._solver import blocks

    monkeypatch.setattr(blocks, "EDGES_PER_BLOCK", 500)
    monkeypatch.setattr(baco.dask, "_LOOK", 0.1)
    folder = planted.save(tmp_path / "log")
    expected = BACO(ratio=0.3).fit(planted)
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        processes=processes,
        host="127.0.0.1",
        protocol="tcp://",
    )
    with cluster, distributed.Client(cluster) as client:
        model = baco.dask.fit(BACO(ratio=0.3), folder, client)
        assert model.codebook_ == expected.codebook_
        assert all(np.array_equal(getattr(model, name), getattr(expected, name)) for name in SAME)
        before = model.codebook_

        def kill(record):
            worker = next(iter(cluster.workers.values()))
            if record["sweep"] == 2 and processes:
                worker.process.process._process.kill()
            elif record["sweep"] == 2:
                client.sync(worker.close, nanny=False)

        model.callbacks = [kill]
        with pytest.raises(RuntimeError, match="workers died during the fit; nothing was changed"):
            baco.dask.fit(model, folder, client)
        assert model.codebook_ is before
        with pytest.raises(ValueError, match="is no graph folder"):
            baco.dask.fit(model, tmp_path, client)
