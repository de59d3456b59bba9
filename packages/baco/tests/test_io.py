"""Readers: what they understand, what they keep, and one clear error for each thing they refuse."""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from baco import io
from baco._columns import WeightColumn
from baco.graph import BipartiteGraph


def pairs(graph: BipartiteGraph) -> list[tuple[object, object, float]]:
    """Interactions under the raw ids, sorted; the slow way round."""
    matrix = graph.to_scipy().tocoo()
    users = graph.user_ids if graph.user_ids is not None else np.arange(graph.n_users)
    items = graph.item_ids if graph.item_ids is not None else np.arange(graph.n_items)
    return sorted(
        (users[r].item(), items[c].item(), float(v)) for r, c, v in zip(*matrix.coords, matrix.data, strict=True)
    )


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# --- delimited text


@pytest.mark.parametrize("mark", [",", "\t", ";", "|", "::"], ids=["comma", "tab", "semicolon", "pipe", "colons"])
def test_the_delimiter_is_found_in_the_first_line(tmp_path: Path, mark: str) -> None:
    text = "\n".join(mark.join(row) for row in [("user_id", "item_id", "n"), ("u1", "7", "2"), ("u2", "9", "0.5")])
    graph = io.read_csv(write(tmp_path / "log.csv", text + "\n"), weight="n")
    assert pairs(graph) == [("u1", 7, 2.0), ("u2", 9, 0.5)]


def test_gzip_is_told_by_its_bytes_not_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", gzip.compress(b"user,item\n1,2\n3,4\n"))
    assert pairs(io.read_interactions(path)) == [(1, 2, 1.0), (3, 4, 1.0)]


@pytest.mark.parametrize(
    "column",
    [["007", "7"], ["1", "x"], ["+1", "2"], ["-0", "0"], ["1.0", "2"], ["12345678901234567890", "1"]],
)
def test_ids_that_would_not_write_back_alike_stay_text(tmp_path: Path, column: list[str]) -> None:
    graph = io.read_csv(write(tmp_path / "a.csv", "user,item\n" + "".join(f"{u},1\n" for u in column)))
    assert graph.user_ids is not None
    assert graph.user_ids.tolist() == sorted(column)


def test_integer_ids_are_integers_negative_ones_too(tmp_path: Path) -> None:
    graph = io.read_csv(write(tmp_path / "a.csv", "user,item\n-5,0\n999999999999999999,10\n"))
    assert graph.user_ids is not None
    assert graph.user_ids.dtype == np.int64
    assert pairs(graph) == [(-5, 0, 1.0), (999999999999999999, 10, 1.0)]


def test_a_column_that_turns_to_text_late_keeps_its_earlier_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baco._bytes.text_blocks.__defaults__", (0, 64))
    rows = [(str(i), str(i % 7)) for i in range(100)] + [("x9", "01")]
    path = write(tmp_path / "a.csv", "user,item\n" + "".join(f"{u},{i}\n" for u, i in rows))
    assert pairs(io.read_csv(path)) == sorted((u, i, 1.0) for u, i in rows)


def test_the_usual_column_names_need_no_naming(tmp_path: Path) -> None:
    path = write(tmp_path / "a.inter", "user_id:token\titem_id:token\trating:float\nA\tB\t3\n")
    assert pairs(io.read_interactions(path)) == [("A", "B", 1.0)]
    path = write(tmp_path / "b.csv", "\ufefftimestamp, movieId,userId\n9,31,1\n")
    assert pairs(io.read_csv(path)) == [(1, 31, 1.0)]


def test_without_a_header_columns_are_positions(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "5,u1,i1\n6,u2,i2\n")
    assert pairs(io.read_csv(path, header=False)) == [(5, "u1", 1.0), (6, "u2", 1.0)]
    assert pairs(io.read_csv(path, header=False, user=1, item="2", weight=0)) == [
        ("u1", "i1", 5.0),
        ("u2", "i2", 6.0),
    ]


@given(st.lists(st.from_regex(r"\A([0-9]{1,16}(\.[0-9]{0,9})?|\.[0-9]{1,9})(e-?[0-9])?\Z"), min_size=1, max_size=20))
@settings(max_examples=30)
def test_weights_are_read_as_python_reads_them(texts: list[str]) -> None:
    stops = np.cumsum([len(text) for text in texts])
    column = WeightColumn()
    buffer = np.frombuffer("".join(texts).encode(), np.uint8)
    column.add(buffer, stops - [len(text) for text in texts], stops, lambda row: row)
    assert column.finish().tolist() == [float(text) for text in texts]


def test_blank_lines_and_carriage_returns_are_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\r\n\nuser,item\r\n1,2\r\n\r\n  \n3,4")
    assert pairs(io.read_csv(path)) == [(1, 2, 1.0), (3, 4, 1.0)]


def test_quotes_as_in_rfc_4180(tmp_path: Path) -> None:
    text = 'user,item\n"a,1","say ""hi"""\n"two\nlines",é\n'
    assert pairs(io.read_csv(write(tmp_path / "a.csv", text))) == [
        ("a,1", 'say "hi"', 1.0),
        ("two\nlines", "é", 1.0),
    ]


FIELD = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=30)


@given(
    st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=20, unique=True),
    st.sampled_from([16, 100, 1 << 20]),
)
def test_any_text_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], block: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerows([("user", "item"), *rows])
    defaults = io.text_blocks.__defaults__
    io.text_blocks.__defaults__ = (0, block)
    try:
        graph = io.read_csv(path)
    finally:
        io.text_blocks.__defaults__ = defaults
    got = [(str(u), str(i)) for u, i, _ in pairs(graph)]
    assert sorted(got) == sorted(rows)


SIMPLE = st.text(st.characters(categories=("L", "N", "S"), exclude_characters='",'), min_size=1, max_size=70)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(-999, 10**7), SIMPLE, st.decimals(0, 10**6, allow_nan=False), st.booleans()),
        min_size=1,
        max_size=30,
        unique_by=lambda row: row[:2],
    ).filter(lambda rows: any(float(row[2]) > 0 for row in rows))
)
def test_the_array_path_agrees_with_the_csv_module(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, object, bool]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    lines = [f'{u},"{i}",{w}' if quoted else f"{u},{i},{w}" for u, i, w, quoted in rows]
    plain = write(path, "user,item,weight\n" + "\n".join(lines) + "\n")
    fast = pairs(io.read_csv(plain, weight="weight"))
    # one embedded quote in a column nobody asked for sends the whole file through the csv module
    lines = [f'"x""y",{line}' for line in lines]
    slow = pairs(io.read_csv(write(path, "other,user,item,weight\n" + "\n".join(lines) + "\n"), weight="weight"))
    assert fast == slow
    expected = {(u, i): float(w) for u, i, w, _ in rows if float(w) > 0}  # type: ignore[arg-type]
    assert {(u, str(i)): w for u, i, w in fast} == expected


BAD_CSV = {
    "missing_column": (
        "a,b\n1,2\n",
        {"user": "a", "item": "x"},
        r"no column 'x'; it has the columns 'a', 'b'",
    ),
    "unguessable": ("a,b\n1,2\n", {}, r"none of them can be taken for the user column.*user=\.\.\."),
    "two_candidates": ("user,uid,item\n1,2,3\n", {}, "'user' and 'uid' can be taken"),
    "position": ("1,2\n", {"header": False, "user": 2}, "no column 2; it has 2 columns, counted from 0"),
    "name_without_header": (
        "1,2\n",
        {"header": False, "user": "u"},
        "read without a header; give a position",
    ),
    "same_column": ("user,item\n1,2\n", {"item": "user"}, "different columns"),
    "twice": ("user,user,item\n1,2,3\n", {"user": "user"}, "'user' 2 times"),
    "no_delimiter": ("user\n1\n", {}, "no comma, tab, semicolon or pipe.*delimiter="),
    "only_header": ("user,item\n", {}, "a header but no interactions"),
    "blank": ("\n \n", {}, "blank lines only"),
    "short_line": ("user,item\n1,2\n\n3\n5,6\n", {}, "line 4: 1 field, expected 2"),
    "long_line": ("user,item\n1,2\n3,4,5\n", {}, "line 3: 3 fields, expected 2"),
    "short_and_long": ("user,item\n1\n3,4,5\n", {}, "line 2: 1 field, expected 2"),
    "quoted_ragged": ('user,item\n1,"2\n2"\n3,4,5\n', {}, "line 4: 3 fields, expected 2"),
    "open_quote": ('user,item\n1,"2\n3,4\n', {}, "line 3: .*check the quotes"),
    "empty_id": ("user,item\n1,2\n,4\n", {}, "line 3: the user is empty"),
    "empty_quoted_id": ('user,item\n1,""\n', {}, "line 2: the item is empty"),
    "weight_text": (
        "user,item,w\n1,2,3\n1,3,many\n",
        {"weight": "w"},
        "line 3: the weight is 'many'; expected a number",
    ),
    "weight_comma": ("user;item;w\n1;2;0,5\n", {"weight": "w"}, "line 2: the weight is '0,5'.*decimal point"),
    "weight_underscore": ("user,item,w\n1,2,1_0\n", {"weight": "w"}, "line 2: the weight is '1_0'"),
    "weight_empty": ("user,item,w\n1,2,\n", {"weight": "w"}, "line 2: the weight is ''"),
    "weight_negative": ("user,item,w\n1,2,1\n\n1,3,-1\n", {"weight": "w"}, "line 4: the weight is -1"),
    "weight_nan": (
        "user,item,w\n1,2,nan\n",
        {"weight": "w"},
        "line 2: the weight is nan; weights must be finite",
    ),
    "weight_inf": ("user,item,w\n1,2,1e999\n", {"weight": "w"}, "the weight is inf"),
    "weight_all_zero": ("user,item,w\n1,2,0\n", {"weight": "w"}, "no interaction with positive weight"),
    "weight_point": ("user,item,w\n1,2,.\n", {"weight": "w"}, "the weight is '.'"),
    "weight_points": ("user,item,w\n1,2,1.2.3\n", {"weight": "w"}, "the weight is '1.2.3'"),
    "delimiter": ("user,item\n1,2\n", {"delimiter": ""}, "delimiter must be"),
    "latin1": ("user,item\n1,caf\xe9\n".encode("latin1"), {}, "not UTF-8 text: byte 15 is 0xe9.*iconv"),
    "nul": (b"user,item\n1,\x002\n", {}, "is binary: byte 12 is NUL"),
    "utf16": ("user,item\n".encode("utf-16"), {}, "UTF-16"),
    "parquet": (b"PAR1....", {}, "parquet file; pass format='parquet'"),
    "zip": (b"PK\x03\x04....", {}, "zip archive"),
    "empty": (b"", {}, "is empty; expected interactions"),
    "short_gzip": (gzip.compress(b"user,item\n1,2\n" * 999)[:-20], {}, "damaged gzip file, cut short"),
    "bad_gzip": (b"\x1f\x8bnot gzip at all", {}, "damaged gzip"),
    "unit_separator": (b"a::b\n1\x1f::2\n", {"delimiter": "::", "header": False}, "0x1f"),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_bad_text_gives_one_clear_error(tmp_path: Path, name: str) -> None:
    content, options, message = BAD_CSV[name]
    path = write(tmp_path / "log.csv", content)
    with pytest.raises(ValueError, match=message) as caught:
        io.read_csv(path, **options)
    assert str(path) in str(caught.value) or "delimiter must" in message
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder; name one file"):
        io.read_interactions(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        io.read_interactions(tmp_path / "nothing.csv")
    with pytest.raises(TypeError, match="path must be"):
        io.read_interactions(3)  # type: ignore[arg-type]


def test_options_that_the_format_cannot_use_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "user,item\n1,2\n")
    with pytest.raises(ValueError, match="recognised as csv, which has no use for key='train'"):
        io.read_interactions(path, key="train")
    with pytest.raises(ValueError, match="read as lightgcn, which has no use for user='u'"):
        io.read_interactions(path, user="u", format="lightgcn")
    with pytest.raises(ValueError, match="format must be one of auto, csv"):
        io.read_interactions(path, format="xml")


# --- LightGCN text


def test_lightgcn_ids_are_row_numbers_and_a_user_may_have_no_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "train.txt", "0 4 2 \n1\n\n3 0\r\n")
    for block in (1 << 20, 4):
        monkeypatch.setattr("baco._bytes.text_blocks.__defaults__", (0, block))
        graph = io.read_interactions(path)
        assert (graph.n_users, graph.n_items, graph.user_ids) == (4, 5, None)
        assert pairs(graph) == [(0, 2, 1.0), (0, 4, 1.0), (3, 0, 1.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1\n2 x3\n", "line 2: 'x3' is not a row number"),
        ("0 1\n\n2 -3\n", "line 3: '-3' is not a row number"),
        ("0 1.5\n", "line 1: '1.5'"),
        ("0\n1\n", "2 lines and no interactions"),
        ("999999999 1\n", "these are not row numbers"),
        ("", "is empty"),
    ],
)
def test_bad_lightgcn_text(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        io.read_lightgcn(write(tmp_path / "train.txt", text))


# --- npz


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_npz_of_a_scipy_matrix(tmp_path: Path, form: str) -> None:
    matrix = sp.random(6, 9, 0.3, format=form, random_state=np.random.default_rng(0))
    sp.save_npz(tmp_path / "m.npz", matrix)
    graph = io.read_interactions(tmp_path / "m.npz")
    assert (graph.to_scipy() != matrix.tocsr()).nnz == 0


def test_npz_of_raw_ids(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", users=np.array(["b", "a"]), items=[10, 20], weights=[1.0, 2.5])
    assert pairs(io.read_npz(tmp_path / "m.npz")) == [("a", 20, 2.5), ("b", 10, 1.0)]


def test_npz_edge_lists_share_their_row_numbers(tmp_path: Path) -> None:
    train, test = np.array([[0, 1], [2, 0]], np.int32), np.array([[4], [6]], np.int32)
    np.savez(tmp_path / "m.npz", train=train, test=test)
    graph = io.read_npz(tmp_path / "m.npz", key="train")
    assert (graph.n_users, graph.n_items) == (5, 7)
    assert pairs(graph) == [(0, 2, 1.0), (1, 0, 1.0)]
    with pytest.raises(ValueError, match=r"several edge lists: train, test; choose one with key=\.\.\."):
        io.read_npz(tmp_path / "m.npz")
    with pytest.raises(ValueError, match=r"no array 'val'; it has train \(2, 2\), test \(2, 1\)"):
        io.read_npz(tmp_path / "m.npz", key="val")


def test_npz_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, x=np.arange(3))
    with pytest.raises(ValueError, match=r"x \(3,\); expected a scipy.sparse matrix, arrays users and items, or"):
        io.read_npz(path)
    with pytest.raises(ValueError, match=r"x is int64 of shape \(3,\); expected integers of shape \(2, E\)"):
        io.read_npz(path, key="x")
    np.savez(path, x=np.array([[1], [-2]]))
    with pytest.raises(ValueError, match="row numbers start at 0"):
        io.read_npz(path)
    np.savez(path, x=np.empty((2, 0), int))
    with pytest.raises(ValueError, match="holds no edge"):
        io.read_npz(path)
    np.savez(path, x=np.array([[1], [10**12]]))
    with pytest.raises(ValueError, match="not row numbers"):
        io.read_npz(path)
    np.savez(path, users=np.array([object()]), items=np.arange(1))
    with pytest.raises(ValueError, match="not a readable npz file"):
        io.read_npz(path)
    sp.save_npz(path, sp.eye(30, format="csr"))
    write(path, path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="not a readable npz file"):
        io.read_npz(path)


def test_npz_of_a_damaged_matrix_or_a_codebook(tmp_path: Path) -> None:
    from baco.codebook import Codebook

    path = tmp_path / "m.npz"
    np.savez(path, format=b"csr", shape=[2, 2], data=np.ones(1), indices=[0])
    with pytest.raises(ValueError, match="damaged sparse matrix"):
        io.read_npz(path)
    Codebook([0, 0], [0, 0], 1, 1).save(path)
    with pytest.raises(ValueError, match="is a baco codebook, not interactions"):
        io.read_npz(path)


# --- parquet


def parquet(path: Path, **columns: object) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_parquet_ids_of_every_kind(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    spelled = ["b", "a", "b", "c", "a"]
    for users in (spelled, pa.array(spelled, pa.large_string()), pa.array(spelled).dictionary_encode()):
        path = parquet(tmp_path / "a.parquet", user=users, item=[5, 6, 7, 5, 9], n=[1, 2, 3, 4, 5])
        graph = io.read_interactions(path, weight="n")
        assert pairs(graph) == [("a", 6, 2.0), ("a", 9, 5.0), ("b", 5, 1.0), ("b", 7, 3.0), ("c", 5, 4.0)]


def test_bad_parquet(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", user=["a", None, "c"], item=[1, 2, 3], when=["x", "y", "z"])
    with pytest.raises(ValueError, match="1 of 3 user ids are missing"):
        io.read_parquet(path)
    with pytest.raises(ValueError, match="no column 'product'; it has the columns 'user', 'item', 'when'"):
        io.read_parquet(path, item="product")
    with pytest.raises(ValueError, match="weight column 'when' holds string"):
        io.read_parquet(path, weight="when")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"PAR1", b"user,item\n1,2\n"):
        with pytest.raises(ValueError, match="not a readable parquet file, cut short perhaps") as caught:
            io.read_interactions(write(path, content), format="parquet")
        assert "\n" not in str(caught.value)
    path = parquet(tmp_path / "a.parquet", user=[True], item=[1.5], n=[None])
    with pytest.raises(ValueError, match="user column holds bool"):
        io.read_parquet(path)
    path = parquet(tmp_path / "a.parquet", user=[1], item=[2], n=[None])
    with pytest.raises(ValueError, match="weight column 'n' holds null"):
        io.read_parquet(path, weight="n")


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = write(tmp_path / "a.parquet", b"PAR1....PAR1")
    with pytest.raises(ImportError, match=r'pip install "baco\[parquet\]"'):
        io.read_interactions(path)


# --- real files


@pytest.mark.data
def test_gowalla_as_lightgcn_text(spk_data) -> None:  # type: ignore[no-untyped-def]
    graph = io.read_interactions(spk_data("interactions/gowalla/train.txt"))
    lines = spk_data("interactions/gowalla/train.txt").read_text().splitlines()
    expected = {int(user): sorted(map(int, items)) for user, *items in map(str.split, lines)}
    rows = np.split(graph.user_items, graph.user_ptr[1:-1])
    assert {user: row.tolist() for user, row in enumerate(rows)} == expected


@pytest.mark.data
def test_beauty_as_an_edge_list_by_key(spk_data) -> None:  # type: ignore[no-untyped-def]
    graph = io.read_interactions(spk_data("interactions/beauty/beauty.npz"), key="train")
    assert (graph.n_users, graph.n_items, graph.n_edges) == (22_363, 12_101, 158_801)


# --- ids as given


@pytest.mark.parametrize("ids", [["a", "b", "b"], ["b", "a", "b"], ["c", "b", "a"], ["a", "b", "c"]])
def test_row_ids_must_differ_sorted_or_not(ids: list[str]) -> None:
    edges = ([0, 1, 2], [0, 0, 0])
    if len(set(ids)) == 3:
        graph = BipartiteGraph.from_arrays(*edges, n_users=3, n_items=1, user_ids=np.array(ids))
        assert graph.user_ids is not None
        assert graph.user_ids.tolist() == ids
        return
    with pytest.raises(ValueError, match="user_ids repeat"):
        BipartiteGraph.from_arrays(*edges, n_users=3, n_items=1, user_ids=np.array(ids))
