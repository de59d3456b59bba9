from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer

import faults

app = typer.Typer()


@app.command("read-it")
def read(
    source: Annotated[Path, typer.Argument()],
    out: Annotated[Path, typer.Option("-o", "--out")],
    mode: Annotated[Literal["fast", "slow"], typer.Option()],
    also: Annotated[Path | None, typer.Option()] = None,
) -> None:
    pass


def test_a_command_is_read_from_its_signature() -> None:
    (command,) = faults.commands(app)
    assert command.words == ()  # the only one has no word
    facts = {p.name: (p.flag, p.is_path, p.is_written, p.required) for p in command.parameters}
    assert facts == {
        "source": (None, True, False, True),
        "out": ("--out", True, True, True),
        "mode": ("--mode", False, False, True),
        "also": ("--also", True, False, False),
    }


def test_every_path_gets_every_fault(tmp_path: Path) -> None:
    (command,) = faults.commands(app)
    lines = dict(faults.trials(command, tmp_path))
    assert lines["source: missing"] == ["nothing-here", "--out", "result", "--mode", "fast"]
    assert lines["out: below a file"] == ["binary", "--out", "empty/result", "--mode", "fast"]
    assert lines["also: directory"] == ["binary", "--out", "result", "--mode", "fast", "--also", "directory"]
    assert len(lines) == 4 + 1 + 4


def one_line() -> None:
    print("read-it: nothing-here is not there", file=sys.stderr)
    raise SystemExit(2)


def usage() -> None:
    print("Usage: read-it\n| Missing option |", file=sys.stderr)
    raise SystemExit(2)


def raises() -> None:
    raise ValueError("bad")


def succeeds() -> None:
    print("fine")


def leaves_a_file() -> None:
    Path("half").touch()
    one_line()


def says_two_lines() -> None:
    print("a warning", file=sys.stderr)
    one_line()


@pytest.mark.parametrize("entry", [one_line, usage])
def test_a_clean_failure_passes(entry: Callable[[], None], tmp_path: Path) -> None:
    assert faults.problems(faults.call(entry, "read-it", [], tmp_path)) == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (raises, "a traceback that ends with 'ValueError: bad'"),
        (succeeds, "exit status 0, expected 2"),
        (leaves_a_file, "left behind half"),
        (says_two_lines, "2 lines on stderr"),
    ],
)
def test_what_is_wrong_is_said(entry: Callable[[], None], said: str, tmp_path: Path) -> None:
    assert said in "; ".join(faults.problems(faults.call(entry, "read-it", [], tmp_path)))


def test_a_call_that_hangs_is_ended(tmp_path: Path) -> None:
    def hangs() -> None:
        import time

        time.sleep(60)

    outcome = faults.call(hangs, "read-it", [], tmp_path, limit=1)
    assert faults.problems(outcome) == ["did not end"]
