"""Readers, the store, kNN relations, HeteroData; damaged files are refused."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

import demm
from demm import DEMMPlus, Metapath, io

EDGES = "src,dst,relation,weight\n0,1,likes,2\n1,2,likes,1\n2,0,knows,1\n0,1,likes,3\n"


def test_csv_edges_are_undirected_summed_and_split_by_relation(tmp_path):
    (tmp_path / "e.csv").write_text(EDGES, encoding="utf-8")
    graph, ids = io.read_edges(tmp_path / "e.csv")
    np.testing.assert_array_equal(ids, [0, 1, 2])
    np.testing.assert_array_equal(graph["likes"].toarray(), [[0, 5, 0], [5, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(graph["knows"].toarray(), [[0, 0, 1], [0, 0, 0], [1, 0, 0]])


def test_text_ids_are_numbered_in_sorted_order(tmp_path):
    (tmp_path / "e.tsv").write_text("src\tdst\nbob\tann\nann\tcy\n", encoding="utf-8")
    graph, ids = io.read_edges(tmp_path / "e.tsv")
    assert ids.tolist() == ["ann", "bob", "cy"]
    np.testing.assert_array_equal(graph["edges"].toarray(), [[0, 1, 1], [1, 0, 0], [1, 0, 0]])


def test_parquet_equals_csv(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra of demm and not installed")
    import pyarrow

    (tmp_path / "e.csv").write_text(EDGES, encoding="utf-8")
    table = pyarrow.table(
        {
            "src": [0, 1, 2, 0],
            "dst": [1, 2, 0, 1],
            "relation": ["likes", "likes", "knows", "likes"],
            "weight": [2, 1, 1, 3],
        }
    )
    parquet.write_table(table, tmp_path / "e.parquet")
    first, _ = io.read_edges(tmp_path / "e.csv")
    second, _ = io.read_edges(tmp_path / "e.parquet")
    for name in first:
        np.testing.assert_array_equal(first[name].toarray(), second[name].toarray())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("src,target\n0,1\n", "lacks column(s) dst"),
        ("src,dst\n0,1,2\n", "line 2: got 3 fields, expected 2"),
        ("src,dst,weight\n0,1,x\n", "column weight"),
        ("src,dst\n", "the edge table is empty"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, text, message):
    (tmp_path / "e.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        io.read_edges(tmp_path / "e.csv")


def test_unknown_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected an edge table"):
        io.read_edges(tmp_path / "nothing.csv")
    (tmp_path / "e.xls").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"\.xls"):
        io.read_edges(tmp_path / "e.xls")


@pytest.mark.parametrize("sparse", [False, True])
def test_a_store_gives_the_same_fit(easy, tmp_path, sparse):
    X = sp.csr_array(np.maximum(easy.X, 0)) if sparse else easy.X
    io.save_store(tmp_path / "store", easy.graph, X)
    read = io.load_store(tmp_path / "store")
    assert isinstance(np.asarray(read[0].indices).base, np.memmap) or isinstance(read[0].indices, np.memmap)
    from_disk = DEMMPlus(3, random_state=0).fit(tmp_path / "store")
    in_memory = DEMMPlus(3, random_state=0).fit(easy.graph, X)
    assert from_disk.features_.tobytes() == in_memory.features_.tobytes()
    np.testing.assert_array_equal(from_disk.labels_, in_memory.labels_)


def test_a_store_keeps_weights_and_metapaths(tmp_path, random_graph):
    rng = np.random.default_rng(0)
    graph = {
        "w": random_graph(30, 0.3, 0, weighted=True),
        "m": Metapath(sp.csr_array((rng.random((30, 5)) < 0.4).astype(float)), weighted=True),
    }
    X = rng.standard_normal((30, 3))
    io.save_store(tmp_path / "s", graph, X)
    first = DEMMPlus(2, binarize=False, random_state=0).fit(tmp_path / "s")
    second = DEMMPlus(2, binarize=False, random_state=0).fit(graph, X)
    np.testing.assert_array_equal(first.features_, second.features_)


def damage_index(folder):
    indices = np.load(folder / "relation_0.indices.npy")
    indices[5] = 10**6
    np.save(folder / "relation_0.indices.npy", indices)


def damage_pointer(folder):
    indptr = np.load(folder / "relation_0.indptr.npy")
    np.save(folder / "relation_0.indptr.npy", indptr[:-1])


def cut_short(folder):
    file = folder / "relation_0.indices.npy"
    file.write_bytes(file.read_bytes()[:200])


def drop_file(folder):
    (folder / "relation_1.indptr.npy").unlink()


def wrong_schema(folder):
    description = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    (folder / "store.json").write_text(json.dumps({**description, "schema": 99}), encoding="utf-8")


def not_json(folder):
    (folder / "store.json").write_text("{", encoding="utf-8")


def escape(folder):
    description = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    description["relations"][0]["stem"] = "../elsewhere"
    (folder / "store.json").write_text(json.dumps(description), encoding="utf-8")


@pytest.mark.parametrize("damage", [damage_index, damage_pointer, cut_short, drop_file, wrong_schema, not_json, escape])
def test_a_damaged_store_is_refused(easy, tmp_path, damage):
    io.save_store(tmp_path / "store", easy.graph)
    damage(tmp_path / "store")
    with pytest.raises(ValueError, match=r"store|damaged|schema|missing"):
        io.load_store(tmp_path / "store")


def test_saving_never_removes_a_folder_that_is_not_ours(easy, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(ValueError, match="not a folder written by demm"):
        io.save_store(tmp_path / "mine", easy.graph)
    assert (tmp_path / "mine" / "thesis.txt").read_text(encoding="utf-8") == "precious"


def test_a_failed_save_leaves_nothing(easy, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        io.save_store(tmp_path / "store", easy.graph)
    assert list(tmp_path.iterdir()) == []


def test_views_become_nearest_neighbour_relations():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    views = {"a": rng.standard_normal((120, 5)) + 3 * np.eye(3, 5)[labels], "b": sp.csr_array(np.eye(3)[labels])}
    graph = demm.from_views(views, n_neighbors=6, metric="euclidean")
    assert list(graph) == ["a", "b"]
    for a in graph.values():
        assert abs(a - a.T).max() == 0
        assert a.sum(axis=1).min() >= 6
        assert a.diagonal().sum() == 0
    mutual = demm.from_views(views, n_neighbors=6, metric="euclidean", mutual=True)
    assert mutual["a"].nnz < graph["a"].nnz
    with pytest.raises(ValueError, match="n_neighbors=120"):
        demm.from_views(views, n_neighbors=120)
    with pytest.raises(ValueError, match="view 'b'"):
        demm.from_views({"a": views["a"], "b": views["b"][:10]})


class Edges:
    def __init__(self, index):
        tensor = np.asarray(index)
        self.edge_index = SimpleNamespace(
            detach=lambda: SimpleNamespace(cpu=lambda: SimpleNamespace(numpy=lambda: tensor))
        )


class Nodes:
    def __init__(self, n, x=None):
        self.num_nodes, self.x = n, x


class FakeHetero(dict):
    """What ``from_hetero`` uses of PyG's HeteroData; the real one is tested where PyG is installed."""

    @property
    def node_types(self):
        return [key for key in self if isinstance(key, str)]

    @property
    def edge_types(self):
        return [key for key in self if isinstance(key, tuple)]


def hetero():
    data = FakeHetero()
    data["paper"] = Nodes(4, np.arange(8.0).reshape(4, 2))
    data["author"] = Nodes(3)
    data["paper", "cites", "paper"] = Edges([[0, 1], [1, 2]])
    data["paper", "by", "author"] = Edges([[0, 1, 2, 3], [0, 0, 1, 1]])
    data["author", "wrote", "paper"] = Edges([[0, 0, 1, 1], [0, 1, 2, 3]])
    return data


def test_hetero_data_gives_one_relation_per_metapath():
    graph = demm.from_hetero(hetero(), "paper")
    assert graph.names == ["paper-paper", "paper-author"]
    np.testing.assert_array_equal(graph["paper-author"].tocsr().toarray(), np.kron(np.eye(2), np.ones((2, 2))))
    np.testing.assert_array_equal(graph["paper-paper"].tocsr().toarray()[1], [1, 0, 1, 0])
    assert graph.X.shape == (4, 2)
    there_and_back = demm.from_hetero(hetero(), "paper", [[("paper", "by", "author"), ("author", "wrote", "paper")]])
    np.testing.assert_array_equal(there_and_back[0].tocsr().toarray(), graph["paper-author"].tocsr().toarray())


def test_hetero_data_with_wrong_paths_is_refused():
    with pytest.raises(ValueError, match="node_type"):
        demm.from_hetero(hetero())
    with pytest.raises(ValueError, match="starts at 'author'"):
        demm.from_hetero(hetero(), "paper", [[("author", "wrote", "paper")]])
    with pytest.raises(ValueError, match="not among the edge types"):
        demm.from_hetero(hetero(), "paper", [[("paper", "likes", "author")]])


def test_real_hetero_data():
    pytest.importorskip("torch_geometric", reason="PyG is an extra of demm and not installed")
    import torch
    from torch_geometric.data import HeteroData

    data = HeteroData()
    data["paper"].x = torch.arange(8.0).reshape(4, 2)
    data["author"].num_nodes = 3
    data["paper", "by", "author"].edge_index = torch.tensor([[0, 1, 2, 3], [0, 0, 1, 1]])
    graph = demm.from_hetero(data, "paper")
    np.testing.assert_array_equal(graph[0].tocsr().toarray(), np.kron(np.eye(2), np.ones((2, 2))))
    assert DEMMPlus(2, random_state=0).fit(graph).labels_.shape == (4,)


def test_edge_index_equals_the_matrix(easy):
    pairs = {name: np.stack(a.tocoo().coords) for name, a in easy.graph.items()}
    first = DEMMPlus(3, random_state=0).fit(pairs, easy.X)
    second = DEMMPlus(3, random_state=0).fit(easy.graph, easy.X)
    assert first.features_.tobytes() == second.features_.tobytes()


def test_every_container_of_relations_is_taken(easy):
    matrices = list(easy.graph.values())
    stacked = np.stack([a.toarray() for a in matrices])
    results = [
        DEMMPlus(3, random_state=0).fit(graph, easy.X).features_
        for graph in (matrices, tuple(matrices), stacked, [a.tocoo() for a in matrices], demm.as_graph(matrices))
    ]
    for features in results[1:]:
        np.testing.assert_array_equal(features, results[0])
