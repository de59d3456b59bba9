"""Loaders of foreign files against broken ones: a clean error or a valid object, never a crash, a hang, another error.

``python tools/fuzz.py [--seconds 60] [name ...]``. Each loader gets one sound file, which is then cut, flipped, grown
and shuffled under a fixed seed for so many seconds, in a process of its own: a crash or a hang there ends that process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fuzz_files
from fuzz_files import Loader

SEED = 20261128
HANG = 20  # seconds that one small file may take
CLEAN = (ValueError, TypeError, OSError, ImportError)  # what the packages promise for bad input


def mutate(content: bytes, chance: random.Random) -> bytes:
    """One broken version of a file."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        kind = chance.randrange(6)
        at = chance.randrange(len(data) + 1)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1 and data:
            data[at % len(data)] = chance.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
        elif kind == 4:
            end = min(len(data), at + chance.randrange(1, 17))
            data[at:at] = data[at:end]
        elif len(data) > 4:  # sizes are what decoders trust
            at %= len(data) - 4
            data[at : at + 4] = struct.pack("<I", chance.choice((0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)))
    return bytes(data)


def _run(loader: Loader, seconds: float, report: Any) -> None:
    """In the child: fuzz until the time is over; the parent hears what went wrong."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("TQDM_DISABLE", "1")
    chance = random.Random(f"{SEED} {loader.package} {loader.name}")
    with tempfile.TemporaryDirectory() as place:
        sound = loader.make(Path(place))
        loader.load(sound)  # the sound one must load
        content = sound.read_bytes()
        target = Path(place) / f"broken{''.join(sound.suffixes)}"
        tried = loaded = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            broken = mutate(content, chance)
            target.write_bytes(broken)
            report.send(("trying", tried, broken))
            signal.alarm(HANG)
            try:
                loader.load(target)
                loaded += 1
            except CLEAN:
                pass
            except BaseException as error:
                report.send(("wrong", f"{type(error).__name__}: {error}; {_where(error)}", broken))
            signal.alarm(0)
            tried += 1
        report.send(("done", tried, loaded))


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def fuzz(loader: Loader, seconds: float, keep: Path | None = None) -> tuple[int, int, list[str]]:
    """Files tried, files that loaded, and what went wrong, one line each."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(loader, seconds, send))
    child.start()
    send.close()
    wrong: dict[str, bytes] = {}
    tried = loaded = 0
    last: tuple[int, bytes] = (0, b"")
    finished = False
    while True:
        try:
            what, first, second = receive.recv()
        except EOFError:
            break
        if what == "trying":
            last = (first, second)
        elif what == "wrong":
            wrong.setdefault(first, second)
        else:
            tried, loaded, finished = first, second, True
    child.join()
    if not finished:
        how = "hung" if child.exitcode == -signal.SIGALRM else f"ended with status {child.exitcode}"
        wrong[f"{how} at file {last[0]}"] = last[1]
        tried = last[0]
    if keep is not None:
        for number, content in enumerate(wrong.values()):
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{loader.package}-{loader.name}-{number}").write_bytes(content)
    return tried, loaded, list(wrong)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="packages; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each loader")
    parser.add_argument("--keep", type=Path, help="folder for the files that went wrong")
    given = parser.parse_args(arguments)
    failed = False
    for loader in fuzz_files.loaders():
        if given.names and loader.package not in given.names:
            continue
        tried, loaded, wrong = fuzz(loader, given.seconds, given.keep)
        print(f"{loader.package} {loader.name}: {tried} files, {loaded} loaded, {len(wrong)} faults", flush=True)
        for line in wrong:
            print(f"  {line}", flush=True)
        failed |= bool(wrong) or not tried
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
