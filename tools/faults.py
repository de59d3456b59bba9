"""Every command of the packages against bad paths: one clear line and exit status 2, and nothing left behind.

``python tools/faults.py [name ...]`` reads each package's typer application, and calls every subcommand with

- ``--help`` (status 0),
- each of its inputs missing, empty, a directory, a file of random bytes,
- each of its outputs where nothing can be written: below a file, and for those that are no folders, a folder.

A call passes when it ends with status 2 and either one line on stderr (our own error) or typer's usage box, says
nothing of a traceback, and leaves the working folder as it was. Each call is a fork of a process that has imported
the command once, so a few hundred of them take about a minute.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import monorepo
from monorepo import Package

LIMIT = 60  # seconds for one call: a command that still runs then took the bad path for a good one, or hangs
# what an option that takes a path is for stands in its name; every other path is read
WRITTEN = ("out", "output", "run", "figure", "html", "save", "to", "report", "folder")
VALUES: dict[type, str] = {int: "2", float: "0.5", str: "x"}


@dataclass(frozen=True)
class Parameter:
    """One argument or option of a command, as its signature states it."""

    name: str
    flag: str | None  # None: a positional argument
    kind: Any
    required: bool

    @property
    def is_path(self) -> bool:
        return Path in (self.kind, *get_args(self.kind), *(each for k in get_args(self.kind) for each in get_args(k)))

    @property
    def is_written(self) -> bool:
        return self.is_path and self.name.split("_")[0] in WRITTEN

    def words(self, value: str) -> list[str]:
        return [value] if self.flag is None else [self.flag, value]

    def plausible(self) -> str:
        """A value of the right kind, for what is required and is no path."""
        kinds = get_args(self.kind) if get_origin(self.kind) in (typing.Union, types.UnionType, list) else (self.kind,)
        first = next(kind for kind in kinds if kind is not type(None))
        return str(get_args(first)[0]) if get_origin(first) is Literal else VALUES.get(first, "x")


@dataclass(frozen=True)
class Command:
    """A subcommand and its parameters."""

    words: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    def call(self, bad: Parameter, value: str, good: Callable[[Parameter], str]) -> list[str]:
        """Arguments with ``value`` for ``bad`` and whatever else is required."""
        line = list(self.words)
        for each in self.parameters:
            if each == bad:
                line += each.words(value)
            elif each.required:
                line += each.words(good(each) if each.is_path else each.plausible())
        return line


@dataclass(frozen=True)
class Outcome:
    status: int | None  # None: it did not end in time
    out: str
    err: str
    left: list[str]


def commands(app: Any) -> Iterator[Command]:
    """Every subcommand of a typer application; an application of one command has no word for it."""
    import typer

    alone = len(app.registered_commands) == 1 and app.registered_callback is None
    for registered in app.registered_commands:
        function = registered.callback
        hints = typing.get_type_hints(function)
        word = registered.name or function.__name__.replace("_", "-")
        built = typer.main.get_command(app)
        built = built if alone else built.commands[word]  # type: ignore[attr-defined]
        parameters = []
        for each in built.params:
            if each.name not in hints:
                continue  # --help is typer's own
            flag = next((flag for flag in each.opts if flag.startswith("--")), None)
            parameters.append(Parameter(each.name, flag, hints[each.name], each.required))
        yield Command(() if alone else (word,), tuple(parameters))


def call(entry: Callable[[], object], program: str, words: Sequence[str], folder: Path, limit: int = LIMIT) -> Outcome:
    """Run the entry point in a fork, in ``folder``; what it left there beside what was there before."""
    before = set(folder.rglob("*"))
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            become(entry, program, words, folder, out.fileno(), err.fileno())
        status = wait(child, limit)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    left = sorted(str(path.relative_to(folder)) for path in set(folder.rglob("*")) - before)
    return Outcome(status, texts[0], texts[1], left)


def become(
    entry: Callable[[], object], program: str, words: Sequence[str], folder: Path, out: int, err: int
) -> typing.NoReturn:
    """The child: the command, and nothing of the parent after it."""
    status = 1
    try:
        os.setsid()  # so that whatever it starts can be ended with it
        os.chdir(folder)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = [program, *words]
        entry()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(child: int, limit: float) -> int | None:
    """Exit status, or None where the child was ended after so many seconds, with all that it started."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def problems(outcome: Outcome) -> list[str]:
    """What is wrong with how a call with a bad path ended."""
    if outcome.status is None:
        return ["did not end"]
    found = []
    if outcome.status != 2:
        found.append(f"exit status {outcome.status}, expected 2")
    lines = [line for line in outcome.err.splitlines() if line.strip()]
    if "Traceback" in outcome.err + outcome.out:
        found.append(f"a traceback that ends with {lines[-1]!r}")
    elif not outcome.err.lstrip().startswith("Usage:") and len(lines) != 1:
        found.append(f"{len(lines)} lines on stderr, expected one: {lines[:3]}")
    if outcome.left:
        found.append(f"left behind {', '.join(outcome.left[:3])}")
    return found


def faults(folder: Path) -> dict[str, str]:
    """Bad inputs by name, made in ``folder``."""
    (folder / "empty").touch()
    (folder / "directory").mkdir()
    (folder / "binary").write_bytes(bytes((7 * k * k + 131) % 256 for k in range(4096)))
    return {"missing": "nothing-here", "empty": "empty", "directory": "directory", "binary": "binary"}


def trials(command: Command, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Names and argument lists of the calls that must fail."""
    bad = faults(folder)
    for parameter in (each for each in command.parameters if each.is_path):
        if parameter.is_written:
            # the inputs are missing as well: whichever is told first, the call must fail cleanly
            lines = {"below a file": "empty/result"}
        else:
            lines = bad

        def good(other: Parameter) -> str:
            return "result" if other.is_written else "binary"

        for fault, value in lines.items():
            yield f"{parameter.name}: {fault}", command.call(parameter, value, good)


def check(package: Package) -> tuple[int, list[str]]:
    """Number of calls, and a line for each that went wrong."""
    found, count = [], 0
    for program, target in package.project.get("scripts", {}).items():
        module, _, attribute = target.partition(":")
        loaded = importlib.import_module(module)
        entry = getattr(loaded, attribute)
        for command in commands(loaded.app):
            title = " ".join((program, *command.words))
            with tempfile.TemporaryDirectory() as place:
                helped = call(entry, program, [*command.words, "--help"], Path(place))
                count += 1
                if helped.status != 0 or "Usage:" not in helped.out:
                    found.append(f"{title} --help: exit status {helped.status}")
            with tempfile.TemporaryDirectory() as place:
                for name, words in trials(command, Path(place)):
                    count += 1
                    found += [
                        f"{title} [{name}]: {line}" for line in problems(call(entry, program, words, Path(place)))
                    ]
    return count, found


def main(names: Sequence[str]) -> int:
    tree = monorepo.read()
    wrong = []
    for name in names or sorted(tree.names):
        start = time.perf_counter()
        count, found = check(tree[name])
        print(f"{name}: {count} calls, {len(found)} went wrong, {time.perf_counter() - start:.0f} s", flush=True)
        print("".join(f"  {line}\n" for line in found), end="", flush=True)
        wrong += found
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
