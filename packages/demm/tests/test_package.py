"""The package from outside: quick import, no torch, pictures, doctests."""

from __future__ import annotations

import ast
import doctest
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import demm

HEAVY = ("torch", "numba", "sklearn", "scipy", "pandas", "matplotlib", "pyarrow")


def test_import_is_quiet_and_light():
    code = f"import sys, demm; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_every_public_name_is_there():
    for name in demm.__all__:
        assert getattr(demm, name) is not None
    assert set(demm.__all__) <= set(dir(demm))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = demm.nothing


def test_imports_between_modules_point_one_way():
    root = Path(demm.__file__).parent
    names = [".".join(("demm", *path.relative_to(root).with_suffix("").parts)) for path in root.rglob("*.py")]
    modules = {name.removesuffix(".__init__") for name in names}
    needs = {}
    for module in modules - {"demm", "demm.cli"}:
        tree = ast.parse(Path(importlib.import_module(module).__file__).read_text(encoding="utf-8"))
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
        found = {f"{node.module}.{alias.name}" for node in froms for alias in node.names}
        needs[module] = {name if name in modules else name.rpartition(".")[0] for name in found} & modules - {module}
    order = list(graphlib.TopologicalSorter(needs).static_order())  # raises CycleError at a circle
    assert set(order) >= set(needs)
    assert "demm" not in order  # inside, nobody goes through the public door


@pytest.mark.parametrize("module", ["demm._demm", "demm.metrics"])
def test_examples_in_docstrings(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0
    assert result.attempted > 0


def test_every_plot_returns_its_axes(easy):
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is an extra of demm and not installed")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    model = demm.DEMMPlus(3, random_state=0).fit(easy.graph, easy.X)
    result = demm.search(easy.graph, easy.X, 3, n_trials=4, random_state=0)
    axes = [
        demm.plot.weights(model),
        demm.plot.energies(model),
        demm.plot.embedding(model),
        demm.plot.relation_heatmap(model, easy.graph),
        result.plot(),
    ]
    assert [len(ax.lines) for ax in axes[:2]] == [2, 3]
    assert axes[2].collections[0].get_offsets().shape == (240, 2)
    assert axes[3].images[0].get_array().shape == (3, 2)
    assert 0.5 < axes[3].images[0].get_array().mean() <= 1
    _, given = plt.subplots()
    assert demm.plot.weights(model, ax=given) is given
    plt.close("all")
