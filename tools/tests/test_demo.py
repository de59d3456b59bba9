from __future__ import annotations

from pathlib import Path

import pytest

import demo
import monorepo


def rewrite(root: Path, body: str, package: str = "light") -> None:
    (root / "packages" / package / "examples" / "quickstart.py").write_text(body)


def test_all_quickstarts_run_and_are_shown(tree_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tree_root / "demo"
    assert demo.main(["--out", str(out)], tree_root) == 0
    assert (out / "table.md").read_text().count("| Answers | the question | 42 |") == 3
    assert '<h2 id="spk-neurons">Answers</h2>' in (out / "index.html").read_text()
    assert capsys.readouterr().out.count("result  42") == 3


def test_one_failure_hides_no_other(tree_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(tree_root, "raise RuntimeError('out of luck')\n")
    assert demo.main(["--out", str(tree_root / "demo")], tree_root) == 1
    said = capsys.readouterr().out
    assert "failed (exit status 1): RuntimeError: out of luck" in said
    assert said.count("result  42") == 2
    assert "out of luck" in (tree_root / "demo/light/log.txt").read_text()


def test_figures_are_in_the_page_and_old_ones_are_gone(tree_root: Path) -> None:
    script = tree_root / "packages/light/examples/quickstart.py"
    script.write_text(script.read_text() + "(out / 'block_order.png').write_bytes(b'x')\n")
    out = tree_root / "demo"
    (out / "light").mkdir(parents=True)
    (out / "light" / "old.png").write_bytes(b"x")
    assert demo.main(["--out", str(out), "light"], tree_root) == 0
    page = (out / "index.html").read_text()
    assert '<img src="light/block_order.png" alt="block order">' in page
    assert "old.png" not in page
    assert "spk-neurons" not in page


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "No such file"),
        ("(out / 'result.json').write_text('[]')", "expected an object"),
        ("(out / 'result.json').write_text('{}')", "system is None, expected text"),
        (
            "import json; said = {'system': 'a', 'ran': 'b', 'result': 'c', 'seconds': '1'}\n"
            "(out / 'result.json').write_text(json.dumps(said))",
            "seconds is '1', expected a number",
        ),
    ],
)
def test_a_quickstart_that_breaks_its_promise_fails(tree_root: Path, body: str, message: str) -> None:
    rewrite(tree_root, f"import sys, pathlib\nout = pathlib.Path(sys.argv[2])\n{body}\n")
    row = demo.run(monorepo.read(tree_root)["light"], tree_root / "demo" / "light")
    assert not row.ok
    assert message in row.result


def test_a_quickstart_that_hangs_is_ended(tree_root: Path) -> None:
    rewrite(tree_root, "import time\nprint('waiting', flush=True)\ntime.sleep(60)\n")
    row = demo.run(monorepo.read(tree_root)["light"], tree_root / "demo" / "light", limit=1.0)
    assert (row.ok, row.result) == (False, "failed (not done after 1 s): waiting")


def test_unknown_name_is_told_what_there_is(tree_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["nothing"], tree_root) == 2
    assert "got package 'nothing', expected one of" in capsys.readouterr().err


def test_what_a_quickstart_says_cannot_break_the_page(tree_root: Path) -> None:
    row = demo.Row("light", "<b>", "a | b", "<script>", 1.0, ok=True)
    assert "<script>" not in demo.page([row], tree_root)
    assert r"a \| b" in demo.markdown([row])
