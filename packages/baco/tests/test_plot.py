"""Pictures: the numbers behind them, and the line that names the extra."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.sparse as sp

from baco import BACO, BipartiteGraph, Codebook
from baco.datasets import CoClusters, make_coclusters
from baco.plot import block_order, plot_matrix, plot_search, plot_volumes


@pytest.fixture(scope="module")
def planted() -> CoClusters:
    return make_coclusters(300, 200, 6, mu=0.9, random_state=0)


@pytest.fixture(scope="module")
def model(planted: CoClusters) -> BACO:
    return BACO(ratio=0.2).fit(planted.graph)


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def test_blocks_lie_along_the_diagonal_in_the_order_of_their_volume(planted: CoClusters) -> None:
    graph, users, items = planted
    rows, columns = block_order(graph, (users, items))
    assert sorted(rows) == list(range(300))
    assert sorted(columns) == list(range(200))
    firsts = [list(dict.fromkeys(labels.tolist())) for labels in (users[rows], items[columns])]
    assert firsts[0] == firsts[1]
    caught = [
        min(graph.user_degrees[users == label].sum(), graph.item_degrees[items == label].sum()) for label in firsts[0]
    ]
    assert caught == sorted(caught, reverse=True)


def test_a_codebook_alone_gives_the_order_of_its_model_on_separate_blocks() -> None:
    matrix = sp.block_diag([sp.csr_matrix(np.ones(shape)) for shape in ((4, 3), (6, 5), (3, 2))])
    model = BACO(gamma=1.0, weights=("degree", "degree"), max_sweeps=20).fit(matrix)
    graph = BipartiteGraph.from_scipy(matrix)
    for one, other in zip(block_order(graph, model), block_order(graph, model.codebook_), strict=True):
        assert one.tolist() == other.tolist()


def test_the_matrix_shows_the_density_of_each_bin(planted: CoClusters, model: BACO) -> None:
    graph = planted.graph
    ax = plot_matrix(graph, model, bins=50)
    shown = ax.images[0].get_array().filled(0)
    rows, columns = block_order(graph, model)
    dense = graph.to_scipy().toarray()[rows][:, columns]
    assert np.allclose(shown, dense.reshape(50, 6, 50, 4).mean((1, 3)), rtol=1e-12)
    ax.figure.canvas.draw()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3)])
def test_a_tiny_matrix_is_drawn_too(shape: tuple[int, int]) -> None:
    full = np.ones(shape)
    ax = plot_matrix(full, (np.zeros(shape[0], int), np.zeros(shape[1], int)))
    assert ax.images[0].get_array().shape == shape
    ax.figure.canvas.draw()


def test_weights_enter_the_density() -> None:
    ax = plot_matrix(np.array([[2.0, 0.0], [0.0, 5.0]]), (np.arange(2), np.arange(2)))
    assert ax.images[0].get_array().filled(0).tolist() == [[5.0, 0.0], [0.0, 2.0]]


def test_volumes_are_sorted_and_add_up_to_the_interactions(planted: CoClusters, model: BACO) -> None:
    ax = plot_volumes(model, planted.graph)
    for line, rows in zip(ax.lines, (model.n_user_rows_, model.n_item_rows_), strict=True):
        volumes = line.get_ydata()
        assert len(volumes) == rows
        assert volumes.sum() == planted.graph.n_edges
        assert (np.diff(volumes) <= 0).all()
    sizes = plot_volumes(model.codebook_).lines
    assert [line.get_ydata().sum() for line in sizes] == [300, 200]


def test_the_search_shows_every_trial(planted: CoClusters, model: BACO) -> None:
    ax = plot_search(model)
    assert ax.lines[0].get_ydata().tolist() == [step["rows"] for step in model.search_path_]
    ax.figure.canvas.draw()
    with pytest.raises(ValueError, match="no search to show"):
        plot_search(BACO(gamma=1.0).fit(planted.graph))
    with pytest.raises(ValueError, match="no search to show"):
        plot_search(Codebook([0], [0], 1, 1))


def test_given_axes_are_drawn_on(planted: CoClusters, model: BACO) -> None:
    from matplotlib.figure import Figure

    for draw in (lambda ax: plot_matrix(planted.graph, model, ax=ax), lambda ax: plot_volumes(model, ax=ax)):
        ax = Figure().add_subplot()
        assert draw(ax) is ax


def test_other_interactions_are_refused(model: BACO) -> None:
    other = np.ones((3, 2))
    for draw in (lambda: plot_matrix(other, model), lambda: plot_matrix(other, model.codebook_)):
        with pytest.raises(ValueError, match="the interactions of 3 and 2; give the data"):
            draw()
    with pytest.raises(ValueError, match="the interactions of 3 and 2"):
        plot_volumes(model, other)
    with pytest.raises(TypeError, match="source must be a fitted BACO or a Codebook, got BACO"):
        plot_volumes(BACO(ratio=0.5))


def test_without_matplotlib_the_message_names_the_extra(model: BACO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (
        lambda: plot_matrix(np.ones((300, 200)), model),
        lambda: plot_volumes(model),
        lambda: plot_search(model),
    ):
        with pytest.raises(ImportError, match=r'pip install "baco\[plot\]"'):
            draw()
