from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import monorepo
import pytest_spk

SETTINGS = """
[pytest]
addopts = --import-mode=importlib -p pytest_spk -p no:cacheprovider
markers =
    data: needs real data
"""


def run(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (root / "pytest.ini").write_text(SETTINGS)
    clean = {key: value for key, value in os.environ.items() if key not in ("SPK_DATA", "SPK_REQUIRE_ORACLES")}
    path = os.pathsep.join([str(monorepo.ROOT / "tools"), *map(str, root.glob("packages/*/src"))])
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=root,
        env={**clean, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
    )


def write_test(root: Path, body: str, package: str = "light") -> None:
    (root / "packages" / package / "tests" / "test_extra.py").write_text("import pytest\n\n\n" + body)


DATA_TEST = "@pytest.mark.data\ndef test_real(spk_data):\n    assert spk_data('x.txt').exists()\n"


def test_every_package_has_collected_tests(tree_root: Path) -> None:
    done = run(tree_root, "--require-every-package")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_package_without_a_test_fails_the_run(tree_root: Path) -> None:
    (tree_root / "packages/light/tests/test_api.py").unlink()
    assert run(tree_root).returncode == 0
    done = run(tree_root, "--require-every-package")
    assert done.returncode != 0
    assert "no test was collected for light" in done.stderr


def test_data_test_skips_with_its_reason_where_there_is_no_data(tree_root: Path) -> None:
    write_test(tree_root, DATA_TEST)
    done = run(tree_root, "-rs")
    assert done.returncode == 0
    assert "SPK_DATA is not set: this test reads real data" in done.stdout


def test_data_test_fails_where_its_file_is_missing(tree_root: Path, tmp_path: Path) -> None:
    write_test(tree_root, DATA_TEST)
    done = run(tree_root, SPK_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "x.txt is not there" in done.stdout


@pytest.mark.parametrize("how", ["    pytest.skip('too lazy')\n", "    pytest.importorskip('no_such_module')\n"])
def test_data_test_may_not_be_skipped_while_the_data_is_there(tree_root: Path, tmp_path: Path, how: str) -> None:
    write_test(tree_root, f"@pytest.mark.data\ndef test_real():\n{how}")
    assert run(tree_root).returncode == 0
    done = run(tree_root, SPK_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "a data test may not be skipped" in done.stdout


def test_expected_failure_of_a_data_test_stays_expected(tree_root: Path, tmp_path: Path) -> None:
    write_test(
        tree_root,
        "@pytest.mark.data\n@pytest.mark.xfail(reason='known')\ndef test_real():\n    assert False\n",
    )
    assert run(tree_root, SPK_DATA=str(tmp_path)).returncode == 0


def test_missing_oracle_is_an_error_only_where_oracles_are_required(tree_root: Path) -> None:
    settings = tree_root / "packages/light/pyproject.toml"
    settings.write_text(settings.read_text().replace("networkx>=3.3", "no-such-oracle>=1"))
    assert run(tree_root, "packages/light").returncode == 0
    done = run(tree_root, "packages/light", SPK_REQUIRE_ORACLES="1")
    assert done.returncode != 0
    assert "light wants no-such-oracle>=1" in done.stderr


def test_oracles_are_judged_by_marker_and_version(tree_root: Path) -> None:
    settings = tree_root / "packages/light/pyproject.toml"
    text = settings.read_text()
    settings.write_text(text.replace('"networkx>=3.3"', '"pytest>=8; python_version < \'3\'", "pytest>=8"'))
    assert pytest_spk.missing_oracles(monorepo.read(tree_root)["light"]) == []
    settings.write_text(text.replace("networkx>=3.3", "pytest>=999"))
    assert "wants pytest>=999, found" in pytest_spk.missing_oracles(monorepo.read(tree_root)["light"])[0]
    settings.write_text(text.replace("oracles = ", "oracles-no-deps = ").replace("networkx>=3.3", "no-such-oracle>=1"))
    assert pytest_spk.missing_oracles(monorepo.read(tree_root)["light"]) == ["light wants no-such-oracle>=1"]


def test_counts_go_to_the_package_whose_folder_holds_the_test(tree_root: Path) -> None:
    tree = monorepo.read(tree_root)
    paths = [tree_root / "packages/light/tests/test_api.py", tree_root / "tools/tests/test_x.py"]
    assert pytest_spk.count_by_package(tree, paths) == {"light": 1}
