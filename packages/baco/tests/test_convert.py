"""Other forms of interactions and codebooks, and the readers of public logs."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest
from typer.testing import CliRunner

from baco import BACO, BipartiteGraph, Codebook
from baco.cli import app
from baco.convert import convert_file
from baco.io import read_interactions, read_movielens, read_npz, read_recbole


def baco(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def book():
    users = ["ann", "bob", "bob", "cy", "cy", "dee"]
    return BACO(gamma=2.0, secondary="both").fit((users, [30, 30, 10, 10, 20, 20])).codebook_


def rows_of(book, side):
    codes, weights = book.lookup(book.user_ids if side == "user" else book.item_ids, side)
    return [[c for pair in zip(line, mix, strict=True) for c in pair] for line, mix in zip(codes, weights, strict=True)]


@pytest.mark.parametrize("side", ["user", "item"])
def test_codes_as_parquet_and_csv(book, tmp_path, side):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(book.to_parquet(tmp_path / "codes.parquet", side))
    assert table.column_names == ["id", "code_0", "weight_0", "code_1", "weight_1"]
    ids = book.user_ids if side == "user" else book.item_ids
    assert table["id"].to_pylist() == ids.tolist()
    for line, expected in zip(table.to_pylist(), rows_of(book, side), strict=True):
        got = [line[name] for name in table.column_names[1:]]
        assert got == [None if expected[place - place % 2] < 0 else value for place, value in enumerate(expected)]
    path = book.save(tmp_path / "map.npz")
    assert convert_file(path, tmp_path / "codes.csv", side=side)["ids"] == len(ids)
    with (tmp_path / "codes.csv").open() as file:
        lines = list(csv.reader(file))
    assert lines[0] == table.column_names
    assert [line[0] for line in lines[1:]] == [str(one) for one in ids]
    assert [int(line[1]) for line in lines[1:]] == book.lookup(ids, side)[0][:, 0].tolist()


def test_interactions_as_npz_and_as_a_folder(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,w\nann,7,2\nbob,7,1\nbob,9,3\n")
    for out in ("log.npz", "log"):
        done = baco("convert", tmp_path / "log.csv", tmp_path / out, "--weight", "w")
        assert done.exit_code == 0, done.stderr
        graph = read_interactions(tmp_path / out)
        assert graph.user_ids.tolist() == ["ann", "bob"]
        assert graph.to_scipy().toarray().tolist() == [[2, 0], [1, 3]]
    assert "3 interactions of 2 users and 2 items" in done.stdout
    again = baco("compress", tmp_path / "log", "--rows", 3, "-o", tmp_path / "map.npz")
    assert again.exit_code == 0, again.stderr
    done = baco("convert", tmp_path / "log.csv", tmp_path / "log.txt")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "must end in .npz" in done.stderr
    plain = BipartiteGraph.from_scipy(np.eye(3))
    from baco.convert import write_interactions

    assert read_npz(write_interactions(plain, tmp_path / "plain.npz")).n_edges == 3


def test_bad_conversions(book, tmp_path):
    with pytest.raises(ValueError, match=r"ends in .parquet, got 'codes.npz'"):
        book.to_parquet(tmp_path / "codes.npz")
    path = book.save(tmp_path / "map.npz")
    with pytest.raises(ValueError, match="side must be 'user' or 'item', got 'users'"):
        convert_file(path, tmp_path / "codes.csv", side="users")
    with pytest.raises(ValueError, match="is the input"):
        convert_file(path, path)


# --- public logs

RATINGS = [("1", "10", "5", "978300760"), ("1", "20", "2", "978302109"), ("2", "10", "4", "978301968")]


@pytest.mark.parametrize(
    ("name", "delimiter", "header"),
    [("u.data", "\t", ""), ("ratings.dat", "::", ""), ("ratings.csv", ",", "userId,movieId,rating,timestamp\n")],
)
def test_movielens(tmp_path, name, delimiter, header):
    path = tmp_path / name
    path.write_text(header + "".join(delimiter.join(line) + "\n" for line in RATINGS))
    graph = read_movielens(path)
    assert (graph.user_ids.tolist(), graph.item_ids.tolist(), graph.n_edges) == ([1, 2], [10, 20], 3)
    assert not graph.weighted
    assert read_interactions(path, format="movielens").n_edges == 3
    liked = read_movielens(path, min_rating=4)
    assert (liked.item_ids.tolist(), liked.n_edges) == ([10], 2)
    with pytest.raises(ValueError, match="no rating of 6 or more; the highest is 5"):
        read_movielens(path, min_rating=6)


def test_recbole(tmp_path):
    text = "user_id:token\titem_id:token\trating:float\na\tx\t3\nb\tx\t1\n"
    for name in ("log.inter", "log.inter.gz"):
        path = tmp_path / name
        with gzip.open(path, "wt") if name.endswith("gz") else path.open("w") as file:
            file.write(text)
        assert read_recbole(path).user_ids.tolist() == ["a", "b"]
        assert read_recbole(path, weight="rating").user_weights.tolist() == [3, 1]
        assert read_interactions(path, format="recbole").n_edges == 2
    with pytest.raises(ValueError, match="no column 'stars'; it has user_id, item_id, rating"):
        read_recbole(path, weight="stars")


def test_files_of_another_kind(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item\n1,2\n")
    with pytest.raises(ValueError, match="no ratings file of MovieLens"):
        read_movielens(path)
    with pytest.raises(ValueError, match="no atomic file of RecBole"):
        read_recbole(path)


# --- the other commands


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Train, validation and test of 80 users and 60 items as LightGCN text."""
    from baco.datasets import make_coclusters

    folder = tmp_path_factory.mktemp("split")
    coo = make_coclusters(80, 60, 4, mean_degree=12, mu=0.9, random_state=0).graph.to_scipy().tocoo()
    part = np.random.default_rng(0).choice(3, coo.nnz, p=[0.8, 0.1, 0.1])
    for number, name in enumerate(("train", "valid", "test")):
        lines = {user: [str(user)] for user in range(80)}
        for user, item in zip(coo.row[part == number].tolist(), coo.col[part == number].tolist(), strict=True):
            lines[user].append(str(item))
        (folder / f"{name}.txt").write_text("\n".join(" ".join(line) for line in lines.values()) + "\n")
    return folder


def test_assign_extends_a_map(tmp_path):
    (tmp_path / "old.csv").write_text("user,item\nann,x\nann,y\nbob,x\nbob,y\ncy,z\n")
    (tmp_path / "new.csv").write_text("user,item\nann,x\ndee,x\ndee,y\nbob,w\ncy,v\neve,v\n")
    baco("compress", tmp_path / "old.csv", "--rows", 4, "-o", tmp_path / "map.npz")
    done = baco("assign", tmp_path / "map.npz", tmp_path / "new.csv", "-o", tmp_path / "more.npz", "--json")
    assert done.exit_code == 0, done.stderr
    old, new = Codebook.load(tmp_path / "map.npz"), Codebook.load(tmp_path / "more.npz")
    assert new.user_ids.tolist() == ["ann", "bob", "cy", "dee"]  # eve took nothing known
    assert new.item_ids.tolist() == ["x", "y", "z", "v", "w"]
    assert new.n_rows == old.n_rows
    assert np.array_equal(new.user_codes[:3], old.user_codes)
    assert new.lookup("dee")[0][0, 0] == new.lookup("bob")[0][0, 0]
    done = baco("assign", tmp_path / "map.npz", tmp_path / "missing.csv", "-o", tmp_path / "no.npz")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_bench_prints_a_line_for_each_method(split, tmp_path):
    import json

    page = tmp_path / "page.html"
    arguments = ("bench", split / "train.txt", "--rows", 30, "--only", "full,modulo,label_propagation,baco")
    done = baco(*arguments, "--report", page)
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 23
    assert "CCE" in done.stdout
    assert "not run: learns its clusters during training" in done.stdout
    assert "Random (modulo)" in page.read_text()
    told = json.loads(baco(*arguments, "--json").stdout)
    assert {one["method"] for one in told["methods"] if one["status"] == "run"} == {
        "full",
        "modulo",
        "label_propagation",
        "baco",
    }
    done = baco("bench", split / "train.txt", "--rows", 30, "--ratio", 0.2)
    assert "give exactly one of --rows and --ratio" in done.stderr


def test_train_writes_a_run_folder_and_goes_on(split, tmp_path):
    import json

    pytest.importorskip("torch_geometric")
    baco("compress", split / "train.txt", "--rows", 40, "-o", tmp_path / "map.npz")
    arguments = ["train", split / "train.txt", "--map", tmp_path / "map.npz", "--valid", split / "valid.txt"]
    arguments += ["--test", split / "test.txt", "-o", tmp_path / "run", "--dim", 8, "--batch-size", 200]
    arguments += ["--lr", 0.05, "--init-std", 0.1, "--eval-every", 2, "--json"]
    first = baco(*arguments, "--epochs", 2)
    assert first.exit_code == 0, first.stderr
    done = baco(*arguments, "--epochs", 4)
    told = json.loads(done.stdout)
    assert told["epochs"] == 4
    assert told["test"]["recall@20"] > 0.3
    assert json.loads((tmp_path / "run/results.json").read_text())["test"] == told["test"]
    assert (tmp_path / "run/metrics.csv").read_text().count("\n") == 5
    done = baco(*arguments, "--epochs", 4, "--dim", 16)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "holds a run of another kind" in done.stderr
    other = baco("train", split / "train.txt", "-o", tmp_path / "map.npz")
    assert "is a file; name a folder" in other.stderr
