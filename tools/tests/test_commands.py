"""The eight commands have one form: what one of them taught a user holds for the next."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import monorepo

TREE = monorepo.read()
PROGRAMS = [(name, target) for name in sorted(TREE.names) for name, target in TREE[name].project["scripts"].items()]


def application(target: str) -> typer.Typer:
    app = importlib.import_module(target.partition(":")[0]).app
    assert isinstance(app, typer.Typer)
    return app


def parameters(app: typer.Typer) -> dict[str, list[Any]]:
    """Of every command, without typer's own ``--help``."""
    group: Any = typer.main.get_command(app)
    return {name: [each for each in command.params if each.name != "help"] for name, command in group.commands.items()}


@pytest.mark.parametrize(("name", "target"), PROGRAMS)
def test_version(name: str, target: str) -> None:
    told = CliRunner().invoke(application(target), ["--version"])
    assert (told.exit_code, told.output) == (0, f"{name} {version(name)}\n")


@pytest.mark.parametrize(("name", "target"), PROGRAMS)
def test_options(name: str, target: str) -> None:
    app = application(target)
    assert not app._add_completion  # how a shell completes is the shell's own matter
    for command, given in parameters(app).items():
        title = f"{name} {command}"
        assert all(each.help for each in given), f"{title}: something has no help"
        written = {each.opts[0]: each for each in given}
        assert "--json" in written, f"{title}: no --json"
        assert written["--json"].is_flag, f"{title}: --json takes a value"
        for flag, expected in {"--out": ["--out", "-o"], "--quiet": ["--quiet", "-q"]}.items():
            if flag in written:
                assert written[flag].opts == expected, f"{title}: {flag} is written {written[flag].opts}"
