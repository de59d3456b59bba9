"""Users of a recommender as nodes of many kinds of edges, beside ``baco``'s co-clusters of the same log."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import demm

baco = pytest.importorskip("baco", reason="baco is not installed")

K, USERS, ITEMS = 4, 240, 160


def interactions(seed: int = 0) -> tuple[sp.csr_array, np.ndarray]:
    """Users of K tastes; an item is taken by its own taste's users nine times in ten. [USERS, ITEMS], labels."""
    rng = np.random.default_rng(seed)
    taste, kind = np.arange(USERS) % K, np.arange(ITEMS) % K
    chance = np.where(taste[:, None] == kind[None], 0.22, 0.22 / 27)
    taken = rng.random((USERS, ITEMS)) < chance
    taken[np.arange(USERS), np.arange(USERS) % ITEMS] = True  # nobody without an interaction
    return sp.csr_array(taken.astype(np.float64)), taste


def coclusters(taken: sp.csr_array) -> np.ndarray:
    """The row of each user in baco's codebook."""
    book = baco.BACO(ratio=0.1, n_codes=1, secondary=None, random_state=0).fit(taken).codebook_
    return np.asarray(book.user_codes)[:, 0]


def test_users_who_took_the_same_item_are_a_relation() -> None:
    """Without any attribute, the relation that a log implies gives the tastes back."""
    taken, taste = interactions()
    labels = demm.DEMMNA(K, random_state=0).fit_predict({"same item": demm.Metapath(taken)})
    assert demm.metrics.accuracy(taste, labels) > 0.9


def test_cocluster_membership_is_one_more_relation() -> None:
    """Users of one of baco's co-clusters are joined; the relation carries the tastes, and noise weighs less than it."""
    taken, taste = interactions()
    codes = coclusters(taken)
    member = sp.csr_array((np.ones(USERS), (np.arange(USERS), codes)), shape=(USERS, codes.max() + 1))
    noise = sp.random_array((USERS, USERS), density=0.05, rng=np.random.default_rng(1), format="csr")
    graph = {"same item": demm.Metapath(taken), "same co-cluster": demm.Metapath(member), "noise": noise + noise.T}
    model = demm.DEMMPlus(K, random_state=0).fit(graph, taken)
    assert demm.metrics.accuracy(taste, model.labels_) > 0.9
    weights = dict(zip(model.relation_names_, model.relation_weights_, strict=True))
    assert weights["same co-cluster"] > weights["noise"]


def test_clusters_agree_with_the_coclusters_of_the_same_log() -> None:
    """Both find the tastes, so each co-cluster lies within one cluster but for a tenth of its users."""
    taken, _ = interactions()
    labels = demm.DEMMPlus(K, random_state=0).fit_predict({"same item": demm.Metapath(taken)}, taken)
    codes = coclusters(taken)
    largest = sum(np.bincount(labels[codes == code]).max() for code in np.unique(codes))
    assert largest > 0.9 * USERS
