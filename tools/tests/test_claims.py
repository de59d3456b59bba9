from __future__ import annotations

from pathlib import Path

import pytest

import claims
import monorepo
import pages
from results import Results

CLAIM = """
[[claim]]
system = "Light"
package = "light"
claim = "half the rows, no loss"
paper = "99 %"
results = "reproduce"
row = "recall over full"
differs = "fewer steps"
confirmed = ">= 0.9"
"""


def with_claim(root: Path, text: str = CLAIM) -> monorepo.Tree:
    (root / "docs").mkdir(exist_ok=True)
    (root / "docs" / "claims.toml").write_text(text)
    return monorepo.read(root)


def measure(root: Path, value: float) -> None:
    out = Results("light", "reproduce", threads=1, root=root, command="python reproduce.py")
    out.add(name="recall over full", metric="ratio", unit=None, ours=value, n=3, note="")
    out.write()


@pytest.mark.parametrize(("value", "said"), [(0.95, "confirmed"), (0.8, "**not confirmed**")])
def test_the_verdict_follows_the_figure(tree_root: Path, value: float, said: str) -> None:
    tree = with_claim(tree_root)
    measure(tree_root, value)
    assert claims.summary(tree, "light") == f"{int(said == 'confirmed')} of 1 claims confirmed"
    line = pages.fill(tree, "<!-- results: claims -->\n<!-- /results -->\n").splitlines()[4]
    assert line.startswith("| Light | half the rows, no loss | 99 % | recall over full: ")
    assert line.endswith(f"| {said} (>= 0.9) |")


def test_a_claim_without_its_row_is_not_measured(tree_root: Path) -> None:
    tree = with_claim(tree_root)
    assert "not measured (>= 0.9)" in claims.table(tree, pages._cell)
    assert claims.summary(tree, "light") == "0 of 1 claims confirmed, 1 not measured"
    assert claims.summary(tree, "spk-neurons") == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"light"', '"other"', "no package 'other'"),
        ('">= 0.9"', '"about 0.9"', "expected confirmed such as"),
        ("differs", "difference", "expected \\["),
    ],
)
def test_a_claim_that_can_not_be_judged_is_refused(tree_root: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        claims.read(with_claim(tree_root, CLAIM.replace(old, new)))
