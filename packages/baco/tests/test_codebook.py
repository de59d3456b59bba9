"""Codes, their files, and what they count."""

from __future__ import annotations

import json

import numpy as np
import pytest

from baco import Codebook


@pytest.fixture
def codebook():
    return Codebook(
        np.array([[0, 1], [1, -1], [2, 0]]),
        np.array([1, 0, 1, 1]),
        3,
        2,
        user_ids=np.array(["ann", "bob", "cy"]),
        item_ids=np.array([30, 10, 20, 2**40]),
        meta={"gamma": 1.5},
    )


def test_counts(codebook):
    assert (codebook.n_users, codebook.n_items, codebook.n_rows) == (3, 4, 5)
    assert codebook.ratio == 5 / 7
    assert codebook.parameters(64) == 5 * 64 + 3  # a second place for each of three users
    assert codebook.compression_ratio(64) == (5 * 64 + 3) / (7 * 64)
    assert codebook.nbytes(64) == 5 * 64 * 4 + (6 + 4) * 4
    assert repr(codebook) == "Codebook(3 users -> 3 rows, 4 items -> 2 rows, ratio 0.714)"


def test_csr_form_is_the_lookup(codebook):
    table = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    codes, weights = codebook.lookup(["ann", "bob", "cy"])
    by_hand = np.array(
        [sum(w * table[c] for c, w in zip(*row, strict=True) if c >= 0) for row in zip(codes, weights, strict=True)]
    )
    assert codebook.to_csr("user") @ table == pytest.approx(by_hand, abs=1e-6)
    assert codebook.to_csr("item").toarray().tolist() == [[0, 1], [1, 0], [0, 1], [0, 1]]


def test_lookup_by_raw_id(codebook):
    assert codebook.lookup([2**40, 10], "item")[0].tolist() == [[1], [0]]
    assert codebook.lookup("bob")[0].tolist() == [[1, -1]]
    with pytest.raises(ValueError, match=r"unknown user id .*dan.* \(1 of 2 are unknown\)"):
        codebook.lookup(["ann", "dan"])
    with pytest.raises(ValueError, match="item ids are integers, got"):
        codebook.lookup("ann", "item")
    with pytest.raises(ValueError, match="side must be 'user' or 'item', got 'users'"):
        codebook.lookup("ann", "users")
    rows = Codebook(np.array([0, 0]), np.array([0]), 1, 1)
    assert rows.lookup([1])[0].tolist() == [[0]]
    with pytest.raises(ValueError, match="unknown user id"):
        rows.lookup([2])


def test_file_holds_no_pickle_and_comes_back(codebook, tmp_path):
    path = codebook.save(tmp_path / "map.npz")
    with np.load(path, allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)
    again = Codebook.load(path)
    assert again == codebook
    assert again.meta == {"gamma": 1.5}
    assert again.user_ids.tolist() == ["ann", "bob", "cy"]
    assert again != Codebook(codebook.user_codes, codebook.item_codes, 3, 2)


@pytest.mark.parametrize("damage", ["truncated", "text", "other npz", "pickle", "newer"])
def test_foreign_files_are_refused(codebook, tmp_path, damage):
    path = codebook.save(tmp_path / "map.npz")
    message = "is not a baco codebook"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "text":
        path.write_text("user,item\n1,2\n")
    elif damage == "other npz":
        np.savez(path, a=np.ones(3))
    elif damage == "pickle":
        np.savez(path, header=np.array([{"format": "baco codebook"}], dtype=object))
    else:
        with np.load(path) as stored:
            arrays = dict(stored)
        header = json.loads(str(arrays["header"]))
        arrays["header"] = np.array(json.dumps(header | {"schema": 99}))
        np.savez(path, **arrays)
        message = "has codebook schema 99; this version reads up to 1: upgrade baco"
    with pytest.raises(ValueError, match=message):
        Codebook.load(path)


def test_a_failed_save_leaves_the_old_file(codebook, tmp_path, monkeypatch):
    path = codebook.save(tmp_path / "map.npz")
    before = path.read_bytes()

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        codebook.save(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["map.npz"]


def test_bad_targets(codebook, tmp_path):
    with pytest.raises(ValueError, match=r"saved as \.npz, got 'map.csv'"):
        codebook.save(tmp_path / "map.csv")
    with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
        codebook.save(tmp_path / "no" / "map.npz")
    with pytest.raises(FileNotFoundError):
        Codebook.load(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    ("codes", "weights", "message"),
    [
        (np.array([0, 3]), None, r"must lie in \[0, 3\)"),
        (np.array([[-1, 0]]), None, "-1 only beyond the first place"),
        (np.array([0.5]), None, "must be integers of shape"),
        (np.array([0, 1]), np.ones(3), "shaped like the codes"),
        (np.array([0]), np.array([[np.nan]]), "NaN"),
    ],
)
def test_bad_codes(codes, weights, message):
    with pytest.raises(ValueError, match=message):
        Codebook(codes, np.array([0]), 3, 1, user_weights=weights)
