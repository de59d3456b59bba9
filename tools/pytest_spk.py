"""Pytest plugin of the whole repository: real data, oracles, hypothesis profile, kernel cache.

Loaded by the root ``pyproject.toml`` (``-p pytest_spk``), so a new package's tests get it without an edit.
Two environment variables turn what is a skip on somebody's laptop into a failure:

``SPK_DATA``
    folder of the real data; a test marked ``data`` may then neither be skipped nor miss a file.
``SPK_REQUIRE_ORACLES``
    when set to 1, every library of the groups ``oracles`` and ``oracles-no-deps`` of the packages under test must
    be installed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import monorepo

# Kernels compiled by one session serve the next one: without it every environment compiles again.
os.environ.setdefault("NUMBA_CACHE_DIR", str(monorepo.ROOT / ".numba_cache"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-every-package",
        action="store_true",
        help="fail when a package of the tree collected no test",
    )


def pytest_configure(config: pytest.Config) -> None:
    from hypothesis import settings

    # Shared machines have slow moments: a deadline would turn them into failures.
    settings.register_profile("spk", deadline=None, print_blob=True)
    settings.load_profile("spk")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("SPK_DATA"):
        return
    skip = pytest.mark.skip(reason="SPK_DATA is not set: this test reads real data")
    for item in items:
        if "data" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish(session: pytest.Session) -> None:
    tree = monorepo.read(session.config.rootpath) if _has_packages(session.config.rootpath) else None
    if tree is None or session.config.option.collectonly:
        return
    counts = count_by_package(tree, (item.path for item in session.items))
    if session.config.getoption("--require-every-package"):
        empty = [name for name in tree.names if not counts[name]]
        if empty:
            raise pytest.UsageError(f"no test was collected for {', '.join(empty)}")
    if os.environ.get("SPK_REQUIRE_ORACLES") == "1":
        missing = [line for name in counts for line in missing_oracles(tree[name])]
        if missing:
            raise pytest.UsageError(f"oracles are missing: {'; '.join(missing)}")


def _has_packages(root: Path) -> bool:
    return any((root / "packages").glob("*/pyproject.toml"))


def count_by_package(tree: monorepo.Tree, paths: Iterable[Path]) -> Counter[str]:
    """How many of the paths lie in the tests of each package; packages without any do not appear."""
    counts: Counter[str] = Counter()
    tests = {package.name: package.tests.resolve() for package in tree.packages}
    for path in paths:
        counts.update(name for name, folder in tests.items() if path.resolve().is_relative_to(folder))
    return counts


def missing_oracles(package: monorepo.Package) -> list[str]:
    """What of the package's oracles is not installed here, one line each."""
    found = []
    for text in [*package.group("oracles"), *package.group("oracles-no-deps")]:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            found.append(f"{package.name} wants {text}")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            found.append(f"{package.name} wants {text}, found {version}")
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and "data" in item.keywords and os.environ.get("SPK_DATA"):
        report.outcome = "failed"
        report.longrepr = f"SPK_DATA is set, so a data test may not be skipped; it said: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)


@pytest.fixture(scope="session")
def spk_data() -> Callable[[str], Path]:
    """Path of a file under ``SPK_DATA``; a missing file fails the test, it does not skip it."""

    def find(relative: str) -> Path:
        folder = os.environ.get("SPK_DATA")
        if not folder:
            pytest.skip("SPK_DATA is not set: this test reads real data")
        path = Path(folder) / relative
        if not path.exists():
            pytest.fail(f"SPK_DATA is set to {folder}, but {relative} is not there")
        return path

    return find
