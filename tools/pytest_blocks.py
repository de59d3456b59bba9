"""Pytest plugin: each Python block of a Markdown file is a test, so no printed example can rot.

Blocks of one file share their names, top to bottom, in an empty working directory of their own. Other blocks
(```` ```console ````, ```` ```bash ````) are not run. A block that cannot run carries its reason on the line
above it: ``<!-- skip: needs the recording of your own camera -->``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FENCE = re.compile(r"^(?P<indent>[ ]*)```(?P<language>\w*)[^\n`]*$")
SKIP = re.compile(r"^\s*<!-- skip: (?P<reason>.+?) -->\s*$")


@dataclass(frozen=True)
class Block:
    """Source of one block, the line it starts on (from 1) and why it is not run, if it is not."""

    source: str
    line: int
    skip: str | None


def blocks(text: str) -> list[Block]:
    """The Python blocks of a Markdown text; ValueError where a fence is not closed."""
    found = []
    lines = text.splitlines()
    place, reason = 0, None
    while place < len(lines):
        skip = SKIP.match(lines[place])
        fence = FENCE.match(lines[place])
        if fence:
            indent = len(fence["indent"])
            start = place + 1
            place = start
            while place < len(lines) and lines[place].strip() != "```":
                place += 1
            if place == len(lines):
                raise ValueError(f"line {start}: this block is not closed")
            if fence["language"] in ("python", "py"):
                source = "\n".join(line[indent:] for line in lines[start:place])
                found.append(Block(source, start + 1, reason))
        if skip:
            reason = skip["reason"]
        elif lines[place].strip():
            reason = None
        place += 1
    return found


class MarkdownFile(pytest.File):
    """One Markdown file; its blocks run in the order in which they stand."""

    names: dict[str, Any]
    folder: Path

    def collect(self) -> Iterator[pytest.Item]:
        for place, block in enumerate(blocks(self.path.read_text(encoding="utf-8"))):
            item = BlockItem.from_parent(self, name=f"block {place + 1} (line {block.line})")
            item.block = block
            if block.skip:
                item.add_marker(pytest.mark.skip(reason=block.skip))
            yield item

    def setup(self) -> None:
        self.names = {"__name__": "__main__"}
        factory: pytest.TempPathFactory = self.config._tmp_path_factory  # type: ignore[attr-defined]
        self.folder = factory.mktemp(re.sub(r"\W", "-", self.path.stem))


class BlockItem(pytest.Item):
    """One block."""

    block: Block

    def runtest(self) -> None:
        page = self.getparent(MarkdownFile)
        assert page is not None
        # blank lines above, so that a traceback names the line of the Markdown file
        source = "\n" * (self.block.line - 1) + self.block.source
        before = Path.cwd()
        os.chdir(page.folder)
        try:
            exec(compile(source, str(page.path), "exec"), page.names)
        finally:
            os.chdir(before)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.block.line - 1, f"{self.path.name}: {self.name}"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".md":
        return MarkdownFile.from_parent(parent, path=file_path)
    return None
