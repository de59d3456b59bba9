"""The report: its numbers, its page, and what it says where something is not there."""

from __future__ import annotations

import json
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from baco import BACO, Codebook
from baco.datasets import CoClusters, make_coclusters
from baco.report import provenance, summarise, write_report


@pytest.fixture(scope="module")
def planted() -> CoClusters:
    return make_coclusters(300, 200, 6, mu=0.9, random_state=0)


@pytest.fixture(scope="module")
def model(planted: CoClusters) -> BACO:
    return BACO(ratio=0.2, embedding_dim=16).fit(planted.graph)


class Page(HTMLParser):
    """Tags that are open, and the addresses a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_facts_are_those_of_model_and_graph(planted: CoClusters, model: BACO) -> None:
    facts = summarise(model, planted.graph)
    within = model.row_labels_[planted.graph.to_scipy().tocoo().row] == model.column_labels_[planted.graph.user_items]
    assert facts["inside_share"] == within.mean()
    assert facts["budget_rows"] == 100
    assert facts["budget_used"] == model.codebook_.n_rows / 100
    assert (facts["embedding_dim"], facts["parameters_full"]) == (16, 500 * 16)
    assert facts["objective"] == model.objective_
    assert facts["megabytes_full"] == 500 * 16 * 4 / 1e6
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_a_codebook_with_its_provenance_tells_the_same(planted: CoClusters, model: BACO) -> None:
    codebook = model.codebook_
    told = Codebook(
        codebook.user_codes,
        codebook.item_codes,
        codebook.n_user_rows,
        codebook.n_item_rows,
        meta={**codebook.meta, **provenance(model, planted.graph)},
    )
    assert summarise(told, planted.graph) == summarise(model, planted.graph)


def test_a_bare_codebook_has_sizes_and_no_more(tmp_path: Path) -> None:
    bare = Codebook(np.array([0, 0, 1]), np.array([0, 0]), 2, 1)
    facts = summarise(bare, embedding_dim=8)
    assert (facts["rows"], facts["ratio"], facts["parameters"]) == (3, 0.6, 24)
    assert [facts[name] for name in ("gamma", "objective", "budget_rows", "edges", "inside_share")] == [None] * 5
    text = write_report(tmp_path / "page.html", bare).read_text()
    assert "Budget search" not in text
    assert "Sweeps" not in text


def test_identity_map_has_no_resolution_and_the_page_still_stands(tmp_path: Path) -> None:
    model = BACO(ratio=1.0).fit(np.eye(3))
    facts = summarise(model, np.eye(3))
    assert facts["gamma"] is None
    json.dumps(facts, allow_nan=False)
    Page(write_report(tmp_path / "page.html", model, np.eye(3)).read_text())


def test_the_page_is_whole_and_needs_no_network(planted: CoClusters, model: BACO, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    text = write_report(tmp_path / "page.html", model, planted.graph, title="<b>logs & more</b>").read_text()
    page = Page(text)
    assert page.open == []
    assert len(page.sources) == 4  # matrix, volumes, sizes, search
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in page.sources)
    assert not re.search(r"https?://|<script|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    words = " ".join(page.words)
    assert "<b>logs & more</b>" in words
    for fact in ("500 ids", f"{model.codebook_.n_rows} rows", "Gini", "Sweeps", "Budget search", "ids share a row"):
        assert fact in words
    assert os.listdir(tmp_path) == ["page.html"]


def test_without_matplotlib_one_line_names_the_extra(
    planted: CoClusters, model: BACO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Page(write_report(tmp_path / "page.html", model, planted.graph).read_text())
    assert page.sources == []
    assert 'pip install "baco[plot]"' in " ".join(page.words)


def test_a_failed_report_leaves_the_old_one(model: BACO, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="give the data the codebook was made from"):
        write_report(path, model, np.ones((2, 2)))
    with pytest.raises(FileNotFoundError, match="create it first"):
        write_report(tmp_path / "no" / "page.html", model)
    with pytest.raises(TypeError, match="source must be a fitted BACO or a Codebook, got BACO"):
        write_report(path, BACO(ratio=0.5))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["page.html"]
