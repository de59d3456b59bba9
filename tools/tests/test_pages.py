from __future__ import annotations

from pathlib import Path

import pytest

import monorepo
import pages
from results import Results


@pytest.fixture
def measured(tree_root: Path) -> Path:
    out = Results("light", "speed", threads=2, command="python packages/light/benchmarks/speed.py", root=tree_root)
    out.add(
        name="1e6 edges | warm",
        metric="wall time",
        unit="s",
        ours=0.2143,
        spread=0.01,
        peer=("other", 2.1),
        ratio=9.8,
        target=">= 10",
        met=False,
        n=7,
        table="headline",
        headline="{ratio:.1f}x faster than {peer} ({peer_value:.1f} s)",
    )
    out.add(name="1e8 edges", metric="wall time", unit="s", ours=None, n=0, note="not enough memory")
    out.write()
    return tree_root


def readme(root: Path, mark: str) -> str:
    path = root / "packages/light/README.md"
    path.write_text(f"# light\n\n<!-- results: {mark} -->\nold 123\n<!-- /results -->\n\nafter\n")
    assert pages.main([], root) == 0
    return path.read_text()


def test_table_is_written_between_the_marks(measured: Path) -> None:
    text = readme(measured, "speed")
    assert "old 123" not in text
    assert text.endswith("<!-- /results -->\n\nafter\n")
    assert "| case | metric | ours | peer | ratio | target | n | note |" in text
    assert r"| 1e6 edges \| warm | wall time | 0.214 ± 0.01 s | other, 2.1 s | 9.8× | >= 10 — **missed** | 7 |" in text
    assert "| 1e8 edges | wall time | not measured |" in text
    assert "<sub>`python packages/light/benchmarks/speed.py`, 20" in text
    assert "2 threads" in text


def test_rows_and_columns_can_be_picked(measured: Path) -> None:
    text = readme(measured, "speed table=headline columns=name,ratio")
    assert "| case | ratio |" in text
    assert r"| 1e6 edges \| warm | 9.8× |" in text
    assert "1e8" not in text


def test_metrics_become_columns(measured: Path) -> None:
    text = readme(measured, "speed 'pivot=wall time'")
    assert "| case | wall time | n |" in text
    assert r"| 1e6 edges \| warm | 0.214 ± 0.01 s | 7 |" in text
    assert "| 1e8 edges | not measured | 0 |" in text


def test_check_fails_until_the_page_is_written(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = measured / "packages/light/README.md"
    path.write_text("<!-- results: speed -->\n<!-- /results -->\n")
    assert pages.main(["--check"], measured) == 1
    assert "packages/light/README.md: its tables differ" in capsys.readouterr().out
    assert pages.main([], measured) == 0
    assert pages.main(["--check"], measured) == 0
    assert pages.main([], measured) == 0
    assert capsys.readouterr().out.count("written") == 1


def test_package_table_shows_headlines_and_names_none_that_is_missing(measured: Path) -> None:
    text = pages.packages(monorepo.read(measured))
    assert "| 9.8x faster than other (2.1 s) |" in text
    assert "https://example.org/repository/tree/main/packages/light" in text
    assert text.count("| not yet |") == 2
    assert "(light/index.md)" in pages.packages(monorepo.read(measured), "{name}/index.md")


def test_missing_results_are_said_to_be_missing(measured: Path) -> None:
    assert 'Not measured yet: `nox -s "reproduce(light)"`.' in readme(measured, "reproduce")
    assert 'Not measured yet: `nox -s "bench(light)"`.' in readme(measured, "speed-h200")


def test_page_outside_a_package_names_the_package(measured: Path) -> None:
    tree = monorepo.read(measured)
    mark = "<!-- results: speed{} -->\n<!-- /results -->"
    assert "1e6 edges" in pages.fill(tree, mark.format(" package=light"))
    with pytest.raises(ValueError, match="outside a package's folder needs package="):
        pages.fill(tree, mark.format(""))
    assert "## light: speed" in pages.fill(tree, mark.format("").replace("speed", "all"))


def test_an_indented_mark_is_an_example(measured: Path) -> None:
    text = "    <!-- results: speed -->\n    <!-- /results -->\n"
    assert pages.fill(monorepo.read(measured), text) == text


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("speed rows=3", "expected options table="),
        ("speed table=none", "no row of light speed has table='none'"),
        ("speed columns=name,speedup", "got column 'speedup'"),
    ],
)
def test_bad_marks_are_named_with_their_page(
    measured: Path, capsys: pytest.CaptureFixture[str], mark: str, message: str
) -> None:
    path = measured / "packages/light/README.md"
    path.write_text(f"<!-- results: {mark} -->\n<!-- /results -->\n")
    assert pages.main([], measured) == 1
    assert f"packages/light/README.md: {message}" in capsys.readouterr().out.replace(
        "got <!-- results: " + mark + " -->, ", ""
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.21432, "0.214"),
        (12345.6, "12,346"),
        (3, "3"),
        (810128, "810,128"),
        (1.2e-5, "1.2e-05"),
        (2.5e10, "2.5e+10"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert pages.number(value) == text
