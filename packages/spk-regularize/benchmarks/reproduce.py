"""Against the paper and against doubt: who is harder to fool, by which attack, and why.

    python packages/spk-regularize/benchmarks/reproduce.py [--minutes N] [--workers N] [--only TEXT] [--list]

A queue of cells (data, training, regulariser, seed; see cells.py), the core table first. Each is written as soon as it
is done, so a stopped queue goes on where it was. An image counts where it stays right. MNIST and CIFAR-10 (a JPEG copy:
absolute accuracies may differ from the original's) are read from the folder that SPK_DATA names; without it their cells
are left out. On another machine, ``--out FOLDER`` writes a file there and leaves out what the package's own file has;
``--merge FILE`` takes its cells over (accuracies do not depend on the machine). ``--tables`` writes the tables anew.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
import torch
from cells import Cell, available, queue, run
from tables import told, write

from results import Results, load

Outcome = tuple[Cell, dict[str, float] | str, float]


def attempt(cell: Cell) -> Outcome:
    """The cell's values, or what went wrong, and the seconds."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    try:
        found: dict[str, float] | str = run(cell)
    except Exception:
        found = traceback.format_exc(limit=-3)
    return cell, found, time.perf_counter() - start


def outcomes(cells: Sequence[Cell], workers: int, seconds: float) -> Iterator[Outcome]:
    """Results as they come; none is started after so many seconds."""
    end = time.monotonic() + seconds
    if workers == 1:
        for cell in cells:
            if time.monotonic() > end:
                return
            yield attempt(cell)
        return
    rest = list(cells)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running: set[Future[Outcome]] = set()
        while rest or running:
            while rest and len(running) < workers and time.monotonic() < end:
                running.add(pool.submit(attempt, rest.pop(0)))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no cell after so many minutes")
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--only", nargs="+", default=[""], help="cells whose name holds one of these texts")
    parser.add_argument("--out", type=Path, help="folder of the results file")
    parser.add_argument("--merge", type=Path, nargs="+", default=[], help="take over the cells of these files")
    parser.add_argument("--list", action="store_true", help="print the queue and what is done")
    parser.add_argument("--tables", action="store_true", help="write the tables anew and stop")
    args = parser.parse_args()
    command = "python packages/spk-regularize/benchmarks/reproduce.py"
    threads = args.workers if args.out else 1
    out = Results("spk-regularize", "reproduce", threads=threads, resume=True, folder=args.out, command=command)
    cells = queue()
    for path in args.merge:
        for entry in load(path).get("cells", []):
            if not out.has_cell(entry["cell"], entry["seed"]):
                out.add_cell(entry["cell"], entry["seed"], entry["values"], seconds=entry["seconds"])
    chosen = [c for c in cells if any(t in f"{c.key}, seed {c.seed}" for t in args.only) and available(c)]
    own = Path(__file__).parent / "results" / "reproduce.json"
    files = [load(path) for path in {own, out.path} if path.is_file()]
    done = {(entry["cell"], entry["seed"]) for file in files for entry in file.get("cells", [])}
    if args.list:
        for cell in chosen:
            print(f"{'done' if (cell.key, cell.seed) in done else '    '}  {cell.key}, seed {cell.seed}")
        return
    todo = [c for c in chosen if (c.key, c.seed) not in done and not args.tables and not args.merge]
    for cell, found, seconds in outcomes(todo, args.workers, 60 * args.minutes):
        name = f"{cell.key}, seed {cell.seed} ({seconds:.0f} s)"
        if isinstance(found, str):
            print(f"{name}: FAILED\n{found}", flush=True)
            continue
        out.add_cell(cell.key, cell.seed, found, seconds=seconds)
        print(f"{name}: {told(found)}", flush=True)
    write(out, cells)
    out.write()


if __name__ == "__main__":
    main()
