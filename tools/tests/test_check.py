"""A sound tree passes, and each rule is seen to bite: one edit, one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import check
import contracts
import monorepo
import results

Edit = Callable[[Path], None]


@pytest.fixture
def sound(tree_root: Path) -> Path:
    (tree_root / "LICENSE").write_bytes((tree_root / "packages/light/LICENSE").read_bytes())
    for name in ("light", "a-dependent", "spk-neurons"):
        out = results.Results(name, "speed", threads=1, command="python speed.py", root=tree_root)
        out.add(name="a", metric="m", ours=1.0, n=7)
        out.write()
    workflows = tree_root / ".github" / "workflows"
    workflows.mkdir(parents=True)
    (workflows / "ci.yml").write_text(
        "on: push\npermissions: {}\njobs:\n  a:\n    timeout-minutes: 5\n    steps:\n"
        "      - uses: actions/checkout@v4\n      - run: nox -s lint\n"
    )
    (tree_root / "noxfile.py").write_text("@nox.session\ndef lint(session):\n    pass\n")
    return tree_root


def replace(path: str, old: str, new: str) -> Edit:
    def edit(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))

    return edit


def append(path: str, text: str) -> Edit:
    def edit(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        with (root / path).open("a") as file:
            file.write(text)

    return edit


def remove(path: str) -> Edit:
    return lambda root: (root / path).unlink()


def test_a_sound_tree_has_no_problem(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.problems(sound) == []
    assert check.main(sound) == 0
    assert "0 problem(s) in light" in capsys.readouterr().out.replace("spk-neurons, a-dependent, ", "")


LIGHT = "packages/light"
DEPENDENT = "packages/a-dependent"
INIT = f"{LIGHT}/src/light/__init__.py"


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (remove(f"{LIGHT}/README.md"), "light/README.md: missing"),
        (replace(f"{LIGHT}/README.md", "```python", "```text"), "no ```python block"),
        (remove(f"{LIGHT}/LICENSE"), "light/LICENSE: missing"),
        (append(f"{LIGHT}/LICENSE", "more"), "LICENSE: differs"),
        (remove(f"{LIGHT}/src/light/py.typed"), "src/light/py.typed: missing"),
        (remove(f"{LIGHT}/examples/quickstart.py"), "quickstart.py: missing"),
        (remove(f"{LIGHT}/benchmarks/results/speed.json"), "benchmarks/results: no *.json"),
        (remove(f"{LIGHT}/tests/test_api.py"), "tests: no test_*.py"),
        (append(f"{LIGHT}/tests/__init__.py", ""), "tests have no __init__.py"),
        (append(f"{LIGHT}/src/other/x.py", ""), "src/other: only src/light belongs there"),
        (append("packages/half/README.md", ""), "packages/half: no pyproject.toml"),
        (replace(f"{LIGHT}/CHANGELOG.md", "## 0.1.0", "## 0.2.0"), "CHANGELOG.md: no heading '## 0.1.0'"),
        (append(INIT, "VALUE = 3\n"), "only re-exports, __all__ and __version__"),
        (append(INIT, "def helper(): ...\n"), "only re-exports, __all__ and __version__"),
        (append(INIT, '__version__ = "9"\n'), "__version__ is '9', not '0.1.0'"),
        (replace(INIT, '["answer"]', '["answer", "question"]'), "__all__ names question, which is not there"),
        (replace(INIT, "__all__", "_all"), "no __all__"),
        (replace(f"{LIGHT}/pyproject.toml", "numpy>=1.26", "numpy"), "'numpy' has no floor"),
        (
            replace(f"{LIGHT}/pyproject.toml", "networkx>=3.3", "networkx<4"),
            "oracles: 'networkx<4' has no floor",
        ),
        (replace(f"{LIGHT}/pyproject.toml", "numpy>=1.26", "numpy @ file:///x"), "names a place"),
        (replace(f"{LIGHT}/pyproject.toml", ">=3.11", ">=3.10"), "requires-python is '>=3.10'"),
        (replace(f"{LIGHT}/pyproject.toml", 'license = "Apache-2.0"', 'license = "MIT"'), "license is 'MIT'"),
        (replace(f"{LIGHT}/pyproject.toml", "light.cli:main", "light.cli:run"), "light.cli has no run"),
        (
            replace(f"{LIGHT}/pyproject.toml", "light.cli:main", "light.command:main"),
            "no module light.command",
        ),
        (replace(f"{LIGHT}/pyproject.toml", "/issues", "/bugs"), "urls.Issues is"),
        (append(f"{LIGHT}/pyproject.toml", "[tool.ruff]\n"), "[tool.ruff]: settings that packages share"),
        (append("pyproject.toml", "[tool.uv]\n"), "workspace sources switch the published ranges off"),
        (append(f"{LIGHT}/README.md", "`pip install light[gpu]`"), "README.md: names light[gpu]"),
        (append(f"{LIGHT}/src/light/api.py", 'TEXT = "pip install light[plot,gpu]"\n'), "names light[gpu]"),
        (
            replace(f"{DEPENDENT}/pyproject.toml", ">=0.1,<0.2", ">=0.2,<0.3"),
            "does not admit spk-neurons 0.1.0",
        ),
        (
            replace(f"{DEPENDENT}/pyproject.toml", ">=0.1,<0.2", "==0.1.0"),
            "should read 'spk-neurons>=X.Y,<X.Z'",
        ),
        (
            replace(f"{DEPENDENT}/pyproject.toml", ">=0.1,<0.2", ">=0.1"),
            "should read 'spk-neurons>=X.Y,<X.Z'",
        ),
        (
            replace(f"{LIGHT}/pyproject.toml", "numpy>=1.26", "a-dependent>=0.1,<0.2"),
            "a-dependent depends on one of ours itself",
        ),
        (append(f"{LIGHT}/benchmarks/results/notes.txt", "x"), "only results as *.json"),
        (append(f"{LIGHT}/benchmarks/results/speed.json", "x"), "is not JSON"),
        (replace(f"{LIGHT}/benchmarks/results/speed.json", '"light"', '"other"'), "package is 'other'"),
        (
            replace(f"{LIGHT}/benchmarks/results/speed.json", '"speed"', '"reproduce"'),
            "so the name should start with it",
        ),
        (replace(f"{LIGHT}/benchmarks/results/speed.json", '"ours"', '"theirs"'), "rows[0]: ours is missing"),
        (
            replace(".github/workflows/ci.yml", "nox -s lint", "nox --json -l -s lint fly > x"),
            "nox -s fly, which noxfile.py does not",
        ),
        (replace(".github/workflows/ci.yml", "nox -s lint", "pip install light"), "ci.yml: names light"),
        (replace(".github/workflows/ci.yml", "@v4", ""), "names no version"),
        (replace(".github/workflows/ci.yml", "timeout-minutes: 5", "runs-on: x"), "no timeout-minutes"),
        (replace(".github/workflows/ci.yml", "permissions: {}\n", ""), "no top-level permissions"),
        (append(".github/workflows/ci.yml", "\t- :"), "not YAML"),
    ],
)
def test_each_rule_bites(sound: Path, edit: Edit, problem: str) -> None:
    edit(sound)
    lines = check.problems(sound)
    assert any(problem in line for line in lines), lines
    assert check.main(sound) == 1


FORBIDDEN = [
    ("light", "import spk_neurons", "imports spk_neurons, which light does not depend on"),
    ("light", "def f():\n    from spk_neurons.scan import scan", "imports spk_neurons"),
    ("light", "import importlib\nimportlib.import_module('spk_neurons')", "imports spk_neurons"),
    ("light", "__import__('a_dependent.x')", "imports a_dependent"),
    ("spk-neurons", "import a_dependent", "imports a_dependent"),
    ("a-dependent", "import spk_neurons._core", "_core is private"),
    ("a-dependent", "from spk_neurons import _core", "_core is private"),
    ("a-dependent", "from spk_neurons._core import scan", "_core is private"),
    ("a-dependent", "from spk_neurons.scan import _block", "_block is private"),
    ("a-dependent", "import spk_neurons as sn\nsn._core.scan()", "_core is private"),
    ("a-dependent", "import spk_neurons.scan\nspk_neurons.scan._block()", "_block is private"),
    ("a-dependent", "from spk_neurons import scan\nscan._block()", "_block is private"),
    (
        "a-dependent",
        "from importlib import import_module\nimport_module('spk_neurons._core')",
        "_core is private",
    ),
]
ALLOWED = [
    ("a-dependent", "import spk_neurons\nspk_neurons.__version__"),
    ("a-dependent", "from spk_neurons.testing import check_neuron"),
    ("a-dependent", "from a_dependent import _own\nimport a_dependent._own"),
    ("a-dependent", "from . import _own"),
    ("light", "import numpy._core\nnumpy._core.x"),
]


@pytest.mark.parametrize("place", ["src/{}/extra.py", "tests/test_extra.py", "benchmarks/speed.py"])
@pytest.mark.parametrize(("package", "text", "problem"), FORBIDDEN)
def test_forbidden_import_is_found(sound: Path, package: str, text: str, problem: str, place: str) -> None:
    path = f"packages/{package}/" + place.format(package.replace("-", "_"))
    append(path, "\n" + text + "\n")(sound)
    assert [line for line in check.problems(sound) if problem in line and path in line]


@pytest.mark.parametrize(("package", "text"), ALLOWED)
def test_allowed_import_is_left_alone(sound: Path, package: str, text: str) -> None:
    append(f"packages/{package}/tests/test_extra.py", text + "\n")(sound)
    assert check.problems(sound) == []


def test_combined_tests_may_import_any_public_name_of_ours(sound: Path) -> None:
    append("packages/light/tests/combined/test_x.py", "import spk_neurons\n")(sound)
    assert check.problems(sound) == []
    append("packages/light/tests/combined/test_x.py", "spk_neurons._core\n")(sound)
    assert any("_core is private" in line for line in check.problems(sound))


def test_lazy_door_is_a_door(sound: Path) -> None:
    replace(INIT, '["answer"]', '["answer", "later"]')(sound)
    append(INIT, "\n_LAZY = {'later': '.api'}\n\n\ndef __getattr__(name):\n    raise AttributeError(name)\n")(sound)
    assert check.problems(sound) == []


def test_no_package_is_a_problem(tmp_path: Path) -> None:
    assert check.problems(tmp_path) == ["packages: no package"]


def test_contracts_follow_the_declared_dependencies(sound: Path) -> None:
    text = contracts.settings(monorepo.read(sound))
    blocks = text.split("\n\n")
    dependent = next(block for block in blocks if ":a-dependent]" in block)
    assert "a-dependent imports only spk_neurons of ours" in dependent
    assert dependent.split("forbidden_modules =")[1].split() == ["light"]
    light = next(block for block in blocks if ":light]" in block)
    assert set(light.split("forbidden_modules =")[1].split()) == {"spk_neurons", "a_dependent"}


def test_one_package_needs_no_contract(sound: Path) -> None:
    packages = [package for package in monorepo.read(sound).packages if package.name == "light"]
    assert contracts.settings(monorepo.Tree(sound, tuple(packages))) == ""


@pytest.mark.parametrize(("broken", "status"), [(False, 0), (True, 1)])
def test_import_linter_holds_the_contracts(sound: Path, broken: bool, status: int) -> None:
    pytest.importorskip("importlinter")
    if broken:
        append("packages/light/src/light/api.py", "\ndef f():\n    import spk_neurons\n")(sound)
    assert contracts.main(sound) == status


def test_results_written_by_hand_are_read_with_their_line(sound: Path) -> None:
    path = sound / "packages/light/benchmarks/results/speed.json"
    data = json.loads(path.read_text())
    data["machine"]["host"] = "box"
    path.write_text(json.dumps(data))
    assert check.problems(sound) == ["packages/light/benchmarks/results/speed.json: machine: host is not in the schema"]
