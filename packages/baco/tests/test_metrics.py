"""Figures of merit on cases small enough for paper and pencil."""

from __future__ import annotations

import numpy as np
import pytest

from baco import BACO, Codebook
from baco.metrics import accl, balance_report, barber_modularity, gini, objective

BLOCKS = np.kron(np.eye(2), np.ones((2, 2)))  # two disjoint K(2,2), E = 8
TRUE = (np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))


def test_two_blocks_by_hand():
    assert objective(BLOCKS, TRUE, 1.0, ("degree", "degree")) == 4
    assert barber_modularity(BLOCKS, TRUE) == 0.5
    # paper weights: d / sqrt(8) times d / sqrt(4): 8 - 2 * 16 / sqrt(32)
    assert objective(BLOCKS, TRUE, 1.0) == pytest.approx(8 - 2 * 16 / np.sqrt(32), abs=1e-12)
    assert objective(BLOCKS, TRUE, 2.0, ("uniform", "uniform")) == pytest.approx(
        8 - 2 * 2 * (2 / 2) * (2 / 2), abs=1e-12
    )


def test_cross_cluster_links_per_pair():
    matrix = BLOCKS.copy()
    matrix[0, 2] = matrix[3, 1] = 1
    assert accl(matrix, TRUE) == 2.0  # two edges across, one pair of clusters
    singles = (np.arange(4), 4 + np.arange(4))
    assert accl(matrix, singles) == 10 / 28
    assert accl(matrix, (np.zeros(4, int), np.zeros(4, int))) == 0.0


def test_gini_by_hand():
    assert gini([5, 5, 5, 5]) == pytest.approx(0)
    assert gini([0, 0, 0, 8]) == pytest.approx(0.75)
    assert gini([1, 3]) == pytest.approx(0.25)  # (1/2 - 1/4) + (1 - 1)
    assert gini([0, 0]) == 0
    with pytest.raises(ValueError, match="at least one finite value"):
        gini([])
    with pytest.raises(ValueError, match="at least one finite value"):
        gini([1, -1])


def test_balance_report():
    codebook = Codebook(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2, 2)
    report = balance_report(codebook, BLOCKS)
    assert report["rows"] == 4
    assert report["user"]["ids_per_row"] == {"min": 1, "median": 2.0, "mean": 2.0, "max": 3, "gini": 0.25}
    assert report["user"]["volume_share"]["max"] == 0.75
    assert report["item"]["volume_share"] == {"max": 0.5, "gini": pytest.approx(0)}
    assert "volume_share" not in codebook.report()["user"]
    with pytest.raises(ValueError, match="the codebook is of 4 users and 4 items, the interactions of 2 and 4"):
        balance_report(codebook, np.ones((2, 4)))


def test_labels_are_checked():
    with pytest.raises(ValueError, match="column_labels must be 4 integers"):
        objective(BLOCKS, (TRUE[0], TRUE[1][:3]))
    with pytest.raises(ValueError, match="row_labels must be 4 integers"):
        objective(BLOCKS, (TRUE[0] * 1.0, TRUE[1]))
    with pytest.raises(ValueError, match="must be a pair"):
        objective(BLOCKS, TRUE[0])


def test_score_is_a_share_of_the_edges():
    model = BACO(gamma=1.0, weights=("degree", "degree")).fit(BLOCKS)
    assert model.score(BLOCKS) == 0.5
