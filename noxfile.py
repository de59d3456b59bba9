"""Every job of the repository: ``nox`` runs the default ones, ``nox -s NAME`` one, ``nox -l`` lists them.

Sessions read ``packages/*``: a new package that follows the tree needs no edit here. What goes after ``--``
reaches the command inside, for example ``nox -s tests -- packages/baco -k budget``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))

import closure  # noqa: E402
import monorepo  # noqa: E402
import releases  # noqa: E402
import surroundings  # noqa: E402
import wheels  # noqa: E402

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "docs", "isolated", "tests"]

TREE = monorepo.read(ROOT)
NAMES = sorted(TREE.names)
each_package = nox.parametrize("name", NAMES, ids=NAMES)

surroundings.prepare(os.environ, ROOT)


def editable(packages: list[monorepo.Package], *, only: set[str] | None = None) -> list[str]:
    """Arguments that install packages from their folders, with all their extras or those in ``only``.

    By path, so that the published ranges count: workspace sources would switch them off.
    """
    words = []
    for package in packages:
        extras = sorted(extra for extra in package.extras if only is None or extra in only)
        wanted = f"[{','.join(extras)}]" if extras else ""
        words += ["-e", f"{package.folder.relative_to(ROOT)}{wanted}"]
    return words


def with_siblings(name: str) -> list[monorepo.Package]:
    return [*TREE.siblings(TREE[name]), TREE[name]]


def groups(packages: list[monorepo.Package], *names: str) -> list[str]:
    """Requirements of the packages' own dependency groups."""
    return sorted({entry for package in packages for name in names for entry in package.group(name)})


def install_oracles(session: nox.Session, packages: list[monorepo.Package], *more: str) -> None:
    """What the tests are compared with: the packages' groups ``oracles`` and ``oracles-no-deps``, and ``more``.

    The second group holds libraries that ask for what has no CPU build, and run without it.
    """
    session.install(*TREE.group("test"), *more, *groups(packages, "oracles"))
    if groups(packages, "oracles-no-deps"):
        session.install("--no-deps", *groups(packages, "oracles-no-deps"))


def build_wheel(session: nox.Session, folder: Path, out: Path) -> None:
    """One wheel into ``out``; nothing is added to the session's environment."""
    if session.venv_backend == "uv":
        session.run("uv", "build", "--wheel", "--quiet", "--out-dir", str(out), str(folder), external=True)
    else:
        session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out), str(folder))


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, the checks of the tree, import contracts, tables that are up to date."""
    session.install(*TREE.group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "tools/check.py")
    session.run("python", "tools/contracts.py")
    session.run("python", "tools/pages.py", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, on every src, the tools and this file."""
    session.install(*TREE.group("types"), *TREE.group("test"), "nox", *editable(list(TREE.packages)))
    sources = [str(package.source.parent.relative_to(ROOT)) for package in TREE.packages]
    path = os.pathsep.join([*sources, "tools"])
    # one run a package: each is judged as its users see it, and modules of the same name do not meet
    for source in sources:
        session.run("mypy", source, env={"MYPYPATH": path})
    session.run("mypy", "tools", "noxfile.py", env={"MYPYPATH": "tools"})


@nox.session
def docs(session: nox.Session) -> None:
    """The site, strictly; then every Python block of READMEs and pages as a test."""
    session.install(*TREE.group("docs"), *TREE.group("test"), *editable(list(TREE.packages)))
    session.run("mkdocs", "build", "--strict", "--quiet", "-f", "docs/mkdocs.yml", env={"NO_MKDOCS_2_WARNING": "1"})
    pages = [
        ROOT / "README.md",
        *sorted(ROOT.glob("packages/*/README.md")),
        *sorted(ROOT.glob("docs/**/*.md")),
    ]
    relative = [str(page.relative_to(ROOT)) for page in pages if page.is_file()]
    run_tests(session, "-p", "pytest_blocks", *([] if session.posargs else relative))


@nox.session
def browser(session: nox.Session) -> None:
    """The site in the Chromium that is installed: pages, links, images, search, copying, a phone, light and dark."""
    session.install(*TREE.group("docs"), "playwright>=1.45")
    session.run("mkdocs", "build", "--strict", "--quiet", "-f", "docs/mkdocs.yml", env={"NO_MKDOCS_2_WARNING": "1"})
    session.run("python", "tools/browser.py", "docs/site", *session.posargs)


@nox.session(reuse_venv=False)
@each_package
def isolated(session: nox.Session, name: str) -> None:
    """One package as its users get it: wheel, empty environment, nothing undeclared, its own tests.

    Runs on the Python at hand, so that the default run stays short; ``nox -s pythons`` runs the light
    packages on every other Python found, the workflow each package on each Python of its classifiers.
    """
    try_wheel(session, TREE[name])


LIGHT = [name for name in NAMES if not TREE.needs_torch(TREE[name])]
OTHERS = surroundings.other_pythons()
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *(str(path.parent) for path in OTHERS.values())])


@nox.session(reuse_venv=False, python=list(OTHERS) or None)
@nox.parametrize("name", LIGHT or [None], ids=LIGHT or ["none"])
def pythons(session: nox.Session, name: str | None) -> None:
    """The light packages, isolated, on every other Python that is installed here (3.11 to 3.14)."""
    if name is None:
        session.skip("every package of the tree needs torch")
    if not OTHERS:
        session.skip("no other Python than the running one was found")
    try_wheel(session, TREE[name])


def try_wheel(session: nox.Session, package: monorepo.Package) -> None:
    """Build, look into the wheel, install it alone, look at what came, import it, run its tests."""
    family = with_siblings(package.name)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for each in family:
            build_wheel(session, each.folder, out)
        found = [wheels.find(out, each) for each in family]
        if os.environ.get("SPK_WHEELS"):  # a release tests the very file that it publishes
            found[-1] = wheels.find(ROOT / os.environ["SPK_WHEELS"], package)
        refuse(session, wheels.problems(found[-1], package))
        names = [each.name for each in family]
        session.install(*wheels.install_arguments(found, names, uv=session.venv_backend == "uv"))
    told = json.loads(str(session.run("python", "tools/quick_import.py", silent=True)))
    refuse(session, closure.problems(TREE, package, Path(told["site"]), told["markers"]))
    later = ["numba", "sklearn", "pandas", "matplotlib", *([] if TREE.needs_torch(package) else ["torch"])]
    session.run("python", "tools/quick_import.py", package.module, *later)
    install_oracles(session, [package], *package.group("oracles-isolated"))
    tests = package.tests.relative_to(ROOT)
    combined = ["--ignore", str(tests / "combined")]
    run_tests(session, str(tests), *combined)


def run_tests(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Pytest on every core, a file at a time; on one with the caller's own arguments, as ``--pdb`` asks for.

    Each process computes on one thread: two that start two each wait for one another.
    """
    spread = [] if session.posargs else ["-n", "auto", "--dist", "loadfile"]
    session.run("pytest", *spread, *arguments, *session.posargs, env={"OMP_NUM_THREADS": "1", **(env or {})})


def refuse(session: nox.Session, problems: list[str]) -> None:
    """End the session with the problems, if there are any."""
    if problems:
        session.error("\n".join(problems))


@nox.session
def tests(session: nox.Session) -> None:
    """All packages in one environment, with their extras; the combined tests and those of the tools too."""
    packages = list(TREE.packages)
    session.install(*TREE.group("test"), *TREE.group("lint"), *editable(packages))
    install_oracles(session, packages)
    chosen = [] if session.posargs else ["packages", "tools", "--require-every-package"]
    run_tests(session, *chosen, env={"UV": str(nox.virtualenv.UV)})


@nox.session(reuse_venv=False)
@each_package
def floors(session: nox.Session, name: str) -> None:
    """Every direct dependency at its lower bound; a sibling at the oldest version that the range admits.

    Torch goes to its floor only where an index with CPU builds is at hand (``UV_TORCH_BACKEND=cpu``);
    elsewhere it stays at the version that the jobs pin.
    """
    if session.venv_backend != "uv":
        session.skip("only uv can resolve to the lower bounds")
    package = TREE[name]
    with tempfile.TemporaryDirectory() as folder:
        older = []
        for sibling in TREE.siblings(package):
            tag = releases.oldest_admitted(ROOT, package, sibling)
            if tag is None:
                session.skip(f"no tag of {sibling.name} lies in the range that {name} admits")
            then = releases.export(ROOT, tag, sibling, Path(folder) / "source")
            build_wheel(session, then, Path(folder) / "wheels")
            older.append(str(wheels.find(Path(folder) / "wheels", sibling)))
        free = bool(os.environ.get("UV_TORCH_BACKEND"))
        if TREE.needs_torch(package) and not free:
            session.log("torch stays pinned: no index with CPU builds is at hand (UV_TORCH_BACKEND is not set)")
        floor: dict[str, str | None] = {"UV_CONSTRAINT": None} if free else {}
        # from the folder: uv counts what a wheel requires as indirect and would take the newest
        session.install("--resolution", "lowest-direct", str(package.folder), *older, env=floor)
        frozen = Path(folder) / "frozen.txt"
        listed = session.run("uv", "pip", "freeze", "--exclude-editable", external=True, silent=True)
        lines = [line for line in str(listed).splitlines() if "==" in line]
        frozen.write_text("\n".join(lines))
        session.install("--constraint", str(frozen), *TREE.group("test"), *package.group("oracles"), env=floor)
        if package.group("oracles-no-deps"):
            session.install("--no-deps", *package.group("oracles-no-deps"), env=floor)
    tests = package.tests.relative_to(ROOT)
    # old releases warn about their own dependencies: what counts here is that the package works with them
    session.run("pytest", "-W", "default", str(tests), "--ignore", str(tests / "combined"), *session.posargs)


DEPENDENTS = [name for name in NAMES if TREE.siblings(TREE[name])]


@nox.session(reuse_venv=False)
@nox.parametrize("name", DEPENDENTS or [None], ids=DEPENDENTS or ["none"])
def compat(session: nox.Session, name: str | None) -> None:
    """A dependent at its last tag against the siblings of this tree: run before these are released."""
    if name is None:
        session.skip("no package of the tree depends on another one")
    package = TREE[name]
    tag = releases.newest(ROOT, package)
    if tag is None:
        session.skip(f"{name} has no release tag yet")
    with tempfile.TemporaryDirectory() as folder:
        released = releases.export(ROOT, tag, package, Path(folder) / "source")
        then = monorepo.Package(released)
        refused = releases.refuses(then, TREE.siblings(package))
        if refused:
            session.skip(f"{tag} does not admit {refused}: its users stay with the version they have")
        out = Path(folder) / "wheels"
        for each in [*(sibling.folder for sibling in TREE.siblings(package)), released]:
            build_wheel(session, each, out)
        family = [*TREE.siblings(package), then]
        found = [wheels.find(out, each) for each in family]
        names = [each.name for each in family]
        session.install(*wheels.install_arguments(found, names, uv=session.venv_backend == "uv"))
        install_oracles(session, [then])
        session.run("pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(released), str(then.tests),
                    "--ignore", str(then.tests / "combined"), *session.posargs)  # fmt: skip


@nox.session
@each_package
def bench(session: nox.Session, name: str) -> None:
    """Side by side with the peers; writes the package's results and the tables made from them."""
    measure(session, TREE[name], "speed.py")


@nox.session
@each_package
def reproduce(session: nox.Session, name: str) -> None:
    """Against the paper, ``-- --minutes N`` at a time; then the slow scientific checks."""
    measure(session, TREE[name], "reproduce.py")
    # 5: the package has no slow test
    session.run("pytest", str(TREE[name].tests.relative_to(ROOT)), "-m", "slow", success_codes=[0, 5])


def measure(session: nox.Session, package: monorepo.Package, script: str) -> None:
    """Install a package with all it is compared with, run one benchmark, write the tables."""
    family = with_siblings(package.name)
    session.install(*editable(family), *TREE.group("test"), *groups([package], "oracles", "peers"))
    if package.group("peers-no-deps"):  # peers that ask for what has no CPU build, and run without it
        session.install("--no-deps", *package.group("peers-no-deps"))
    path = package.folder / "benchmarks" / script
    if path.is_file():
        session.run("python", str(path.relative_to(ROOT)), *session.posargs)
        session.run("python", "tools/pages.py")
    else:
        session.log(f"{package.name} has no benchmarks/{script}")


@nox.session(name="build")
def build_all(session: nox.Session) -> None:
    """sdist and wheel of every package into dist/, checked by twine."""
    session.install(*TREE.group("build"))
    with tempfile.TemporaryDirectory() as again:
        for out in (str(ROOT / "dist"), again):
            shutil.rmtree(out, ignore_errors=True)
            for package in TREE.packages:
                # the wheel is built from the sdist, so that both are complete; hatchling is in this environment
                folder = str(package.folder.relative_to(ROOT))
                session.run("python", "-m", "build", "--no-isolation", "--outdir", out, folder, silent=True)
        refuse(session, wheels.differences(ROOT / "dist", Path(again)))
    for package in TREE.packages:
        refuse(session, wheels.problems(wheels.find(ROOT / "dist", package), package))
    session.run("twine", "check", "--strict", *map(str, sorted((ROOT / "dist").glob("*.*"))))


@nox.session(reuse_venv=False)
def installs(session: nox.Session) -> None:
    """A dry run of a release: all packages by name, from a local folder of wheels, into an empty environment."""
    if session.venv_backend != "uv":
        session.skip("the folder of wheels is offered to uv")
    with tempfile.TemporaryDirectory() as folder:
        for package in TREE.packages:
            build_wheel(session, package.folder, Path(folder))
        links = ",".join(filter(None, (os.environ.get("UV_FIND_LINKS"), folder)))
        fresh = [word for package in TREE.packages for word in ("--refresh-package", package.name)]
        wanted = [f"{package.name}=={package.version}" for package in TREE.packages]
        session.install(*fresh, *wanted, env={"UV_FIND_LINKS": links})
    for package in TREE.packages:
        session.run("python", "tools/quick_import.py", package.module)
        for program in package.scripts:
            session.run(program, "--help", silent=True)


@nox.session
def discipline(session: nox.Session) -> None:
    """In scratch copies: what a sibling's bad release does to resolver, ``isolated`` and ``compat``.

    ``nox -s discipline -- tecos-lvm -- packages/tecos-lvm/tests/test_metrics.py`` keeps to one package and file.
    """
    session.install("nox[uv]", *TREE.group("lint"))
    session.run("python", "tools/discipline.py", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Every command of the eight against missing, empty, foreign and unwritable paths."""
    session.install(*TREE.group("test"), *editable(list(TREE.packages)))
    session.run("python", "tools/faults.py", *session.posargs)


@nox.session
def kills(session: nox.Session) -> None:
    """Every trainer killed at random moments: started again, it must end as if nothing had happened."""
    session.install(*TREE.group("test"), *editable(list(TREE.packages)))
    session.run("python", "tools/kills.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Loaders of foreign files against broken ones, a minute each under a fixed seed; ``-- --seconds 5`` for a look."""
    session.install(*TREE.group("test"), *editable(list(TREE.packages)))
    install_oracles(session, list(TREE.packages))  # some write what ours only read
    session.run("python", "tools/fuzz.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Every package's quickstart in one environment: figures, and one table of results, in demo/."""
    names = list(session.posargs) or NAMES
    try:
        family = {each.name: each for name in names for each in with_siblings(name)}
    except ValueError as error:
        session.error(str(error))
    packages = [package for package in TREE.packages if package.name in family]
    session.install("tqdm", *editable(packages, only={"plot"}))
    session.run("python", "tools/demo.py", *names)
