"""Answers that were worked out beforehand: by hand, from the paper's plot, or by a slow reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from baco import BACO
from baco._solver.reference import alternating_sweeps

KNOWN = json.loads((Path(__file__).parent / "known_answers.json").read_text())
MODULARITY = ("degree", "degree")


@pytest.mark.parametrize("case", KNOWN["sweeps"], ids=lambda case: case["source"].split(":")[0])
def test_disjoint_blocks_are_found_in_one_sweep(case):
    shape = case["graph"]
    X = sp.block_diag([sp.csr_matrix(np.ones((shape["users"], shape["items"])))] * shape["blocks"])
    model = BACO(gamma=case["resolution"], weights=MODULARITY, secondary=None).fit(X)
    first = model.history_[0]
    expected = case["sweep_1"]
    assert (first["inside"], first["rows_u"], first["rows_i"]) == (
        expected["inside"],
        expected["rows_u"],
        expected["rows_i"],
    )
    assert first["F"] / X.nnz == pytest.approx(expected["Q"], abs=1e-15)
    blocks = np.repeat(np.arange(shape["blocks"]), shape["users"])
    assert len(set(zip(blocks, model.row_labels_, strict=True))) == shape["blocks"]


@pytest.mark.data
@pytest.mark.parametrize("case", KNOWN["real"], ids=lambda case: f"{case['data']}-{case['resolution']}")
def test_sweeps_on_real_logs(case, real_graph):
    graph = real_graph(case["data"])
    model = BACO(gamma=case["resolution"], weights=MODULARITY, secondary=None).fit(graph)
    for expected, record in zip(case["sweeps"], model.history_, strict=True):
        if expected is None:
            continue
        moves, rows_u, rows_i, inside, modularity = expected
        assert (record["moves"], record["rows_u"], record["rows_i"], record["inside"]) == (
            moves,
            rows_u,
            rows_i,
            inside,
        )
        assert record["F"] / graph.n_edges == pytest.approx(modularity, abs=5e-7)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "resolution", "sweeps"),
    [
        ("beauty", 1.0, 2),
        pytest.param("beauty", 1.0, 5, marks=pytest.mark.slow),
        pytest.param("gowalla", 33.9, 5, marks=pytest.mark.slow),
    ],
)
def test_real_logs_by_the_slow_reference(name, resolution, sweeps, real_graph):
    """The pure-Python loops, which share no code with the kernels, give the same labels."""
    graph = real_graph(name)
    users = np.repeat(np.arange(graph.n_users), np.diff(graph.user_ptr)).tolist()
    edges = zip(users, graph.user_items.tolist(), [1.0] * graph.n_edges, strict=True)
    slow_users, slow_items, history = alternating_sweeps(
        edges, graph.user_degrees.tolist(), graph.item_degrees.tolist(), resolution / graph.n_edges, sweeps
    )
    model = BACO(gamma=resolution, weights=MODULARITY, max_sweeps=sweeps, secondary=None).fit(graph)
    for (moves, rows_u, rows_i, inside, balance), record in zip(history, model.history_, strict=True):
        assert (moves, rows_u, rows_i, inside) == (
            record["moves"],
            record["rows_u"],
            record["rows_i"],
            record["inside"],
        )
        assert record["F"] == pytest.approx(inside - resolution / graph.n_edges * balance, rel=1e-12)
    joint = np.array(slow_users + slow_items)
    fast = np.concatenate([model.row_labels_, model.column_labels_])
    connected = np.concatenate([np.diff(graph.user_ptr), np.diff(graph.item_ptr)]) > 0
    pairs = np.unique(np.column_stack([joint, fast])[connected], axis=0)
    assert len(pairs) == len(np.unique(joint[connected])) == len(np.unique(fast[connected]))


@pytest.mark.data
@pytest.mark.parametrize("case", KNOWN["release"], ids=lambda case: case["data"])
def test_release_rule_follows_the_published_figure(case, real_graph):
    """Within 2.5 points of readings off figure 4; its Gowalla split is another one than ours."""
    graph = real_graph(case["data"])
    model = BACO(gamma=case["gamma"], compat="release", random_state=2025).fit(graph)
    ratios = [(record["rows_u"] + record["rows_i"]) / (graph.n_users + graph.n_items) for record in model.history_]
    assert ratios == pytest.approx(case["ratio"], abs=0.025)
    assert model.codebook_.n_rows == model.history_[-1]["rows_u"] + model.history_[-1]["rows_i"]


@pytest.mark.data
def test_release_rule_needs_the_degree_numerator(real_graph):
    """Why weights="paper" is what it is: the scheme the software names collapses at the published resolution."""
    graph = real_graph("gowalla")
    model = BACO(gamma=7.57, weights=("degree", "uniform"), compat="release", random_state=2025, max_sweeps=3)
    record = model.fit(graph).history_[-1]
    published = next(case["ratio"][2] for case in KNOWN["release"] if case["data"] == "gowalla")
    assert (record["rows_u"] + record["rows_i"]) / (graph.n_users + graph.n_items) < published / 5


@pytest.mark.data
@pytest.mark.parametrize(("name", "ratio"), [("gowalla", 0.17), ("beauty", 0.25)])
def test_budget_is_met_on_real_logs(name, ratio, real_graph):
    graph = real_graph(name)
    budget = int(ratio * (graph.n_users + graph.n_items))
    model = BACO(ratio=ratio).fit(graph)
    assert 0.97 * budget <= model.codebook_.n_rows <= budget
    assert (model.secondary_ >= 0).mean() > 0.5
