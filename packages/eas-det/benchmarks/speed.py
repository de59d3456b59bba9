"""Reading, binning, sampling and simulating, side by side with what one would use instead.

    python packages/eas-det/benchmarks/speed.py [--only PART ...] [--repeats N]

Ours and the peers run in one process on one thread, taking turns, kernels warm; medians are reported. Times are CPU
time of the thread, the system's part included, which other programs do not stretch; a slice of a large file is wall
time. Parts (bins, decode, sampler, synth) can be run one at a time: rows measured before are kept. GPU rows: gpu.py.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))
from eas_det import ARSNNSampler, Events, micro_counts, open_events, voxel_grid, write_dat
from eas_det.sampler.reference import sample
from eas_det.synth import LEVELS, EventShapes, Sensor, simulate
from results import Results

N = 10_000_000
SIZE = (304, 240)
SPAN = 1_000_000


def interleaved(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of the thread for each call, ``repeats`` times in turn after one warm-up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            gc.collect()
            start = time.thread_time()
            call()
            if turn:
                times[name].append(time.thread_time() - start)
    return times


def spread(values: list[float]) -> float:
    """Half the range between the quartiles."""
    low, high = np.percentile(values, [25, 75])
    return float(high - low) / 2


def random_events(n: int = N) -> Events:
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, SPAN, n))
    x, y = rng.integers(0, SIZE[0], n).astype("u2"), rng.integers(0, SIZE[1], n).astype("u2")
    return Events(t, x, y, rng.integers(0, 2, n).astype("u1"), SIZE)


def versus(
    out: Results, name: str, times: dict[str, list[float]], wanted: dict[str, float], events: int, note: str = "",
    headline: str | None = None,
) -> None:  # fmt: skip
    """A row for each peer, times in ms; ``wanted`` holds the promised ratios."""
    ours = statistics.median(times["ours"])
    for peer, limit in wanted.items():
        theirs = statistics.median(times[peer])
        first = headline is not None and peer == next(iter(wanted))
        out.add(
            name=name,
            metric="CPU time",
            unit="ms",
            ours=1e3 * ours,
            peer=(peer, 1e3 * theirs),
            ratio=theirs / ours,
            target=f">= {limit:g}x",
            met=theirs / ours >= limit,
            n=len(times["ours"]),
            spread=1e3 * spread(times["ours"]),
            note=f"{events / ours / 1e6:.0f} million events/s{'; ' + note if note else ''}",
            headline=headline if first else None,
            table="events",
        )


def part_bins(out: Results, repeats: int) -> None:
    from tonic.functional import to_voxel_grid_numpy
    from tonic.transforms import ToFrame

    events = random_events()
    records = events.to_structured(np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "i1")]))
    to_frame = ToFrame(sensor_size=(*SIZE, 2), n_time_bins=4)
    stored = [torch.from_numpy(getattr(events, key).copy()) for key in "txyp"]
    wide = [each.long() for each in stored]

    def naive(tensors: list[torch.Tensor]) -> torch.Tensor:
        t, x, y, p = (each.long() for each in tensors)  # does nothing where they are int64 already
        place = ((t * 4 // SPAN * 2 + p) * SIZE[1] + y) * SIZE[0] + x
        return torch.zeros(4 * 2 * SIZE[0] * SIZE[1]).index_add_(0, place, torch.ones(len(t)))

    def add_at() -> np.ndarray:
        frame = np.zeros((4, 2, SIZE[1], SIZE[0]), np.float32)
        np.add.at(frame, (events.t * 4 // SPAN, events.p, events.y, events.x), 1)
        return frame

    counts = micro_counts(events, 4, 0, SPAN)
    assert np.array_equal(counts, naive(stored).view(4, 2, SIZE[1], SIZE[0]).numpy())
    assert np.array_equal(counts, add_at())
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: micro_counts(events, 4, 0, SPAN),
        "tonic ToFrame": lambda: to_frame(records),
        "torch index_add_": lambda: naive(stored),
        "torch index_add_, int64 at hand": lambda: naive(wide),
        "numpy add.at": add_at,
    }
    wanted = {
        "tonic ToFrame": 30.0,
        "torch index_add_": 25.0,
        "torch index_add_, int64 at hand": 25.0,
        "numpy add.at": 2.5,
    }
    note = f"{N:,} random events, 304x240, 4 bins"
    times = interleaved(calls, repeats)
    versus(out, "micro-counts", times, wanted, N, note, "micro-counts {ratio:.0f}x faster than {peer}")
    # tonic writes -1 into its caller's polarities: each call gets a copy, which is not timed against it below
    theirs = to_voxel_grid_numpy(records.copy(), (*SIZE, 2), 4)
    worst = float(np.abs(voxel_grid(events, 4, dtype=np.float64) - theirs).max())
    fresh = records.copy()
    times = interleaved(
        {
            "ours": lambda: voxel_grid(events, 4, dtype=np.float64),
            "tonic voxel grid": lambda: to_voxel_grid_numpy(fresh, (*SIZE, 2), 4),
        },
        repeats,
    )
    versus(out, "voxel grid, float64", times, {"tonic voxel grid": 40.0}, N, f"largest difference {worst:.1e}")


def chunks(form: str, path: Path) -> int:
    """The peer's way of reading a piece at a time."""
    from expelliarmus import Wizard

    wizard = Wizard(encoding=form, chunk_size=1 << 18)
    wizard.set_file(str(path))
    return sum(map(len, wizard.read_chunk()))


def part_decode(out: Results, repeats: int) -> None:
    from expelliarmus import Wizard

    events = random_events()
    records = events.to_structured(np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")]))
    with tempfile.TemporaryDirectory() as folder:
        for form, suffix, limit in (("dat", "dat", 4.0), ("evt2", "raw", 1.0), ("evt3", "raw", 3.0)):
            path = Path(folder) / f"{form}.{suffix}"
            if form == "dat":
                write_dat(path, events)
            else:
                Wizard(encoding=form).save(str(path), records)
            wizard = Wizard(encoding=form)
            # written by the peer, so that both read what it means; without the size its header lacks
            assert len(open_events(path, form, sensor_size=SIZE).read()) == len(wizard.read(str(path)))
            jobs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
                "whole": (
                    lambda form=form, path=path: open_events(path, form, sensor_size=SIZE).read(),
                    lambda wizard=wizard, path=path: wizard.read(str(path)),
                ),
                "in chunks": (
                    lambda form=form, path=path: sum(map(len, open_events(path, form, sensor_size=SIZE))),
                    lambda form=form, path=path: chunks(form, path),
                ),
            }
            for way, (ours, theirs) in jobs.items():
                head = "{ratio:.1f}x faster than {peer} on .dat" if (form, way) == ("dat", "whole") else None
                times = interleaved({"ours": ours, "expelliarmus": theirs}, repeats)
                versus(out, f"decode {form}, {way}", times, {"expelliarmus": limit}, N, "file in the page cache", head)
        path = Path(folder) / "dat.dat"
        reader = open_events(path)
        times = interleaved(
            {
                "fused": lambda: micro_counts(reader, 4, 0, SPAN),
                "opened": lambda: micro_counts(open_events(path), 4, 0, SPAN),
                "counting alone": lambda: micro_counts(events, 4, 0, SPAN),
            },
            repeats,
        )
        fused, opened, alone = (statistics.median(times[name]) for name in ("fused", "opened", "counting alone"))
        out.add(
            table="events", name=".dat to counts", metric="CPU time", unit="ms", ours=1e3 * fused,
            peer=("counting decoded events", 1e3 * alone), ratio=alone / fused, target=">= 0.77x (within 1.3x)",
            met=fused <= 1.3 * alone, n=repeats, spread=1e3 * spread(times["fused"]),
            note=f"open reader; {1e3 * opened:.3g} ms with opening the file",
        )  # fmt: skip
        part_slice(out, Path(folder) / "large.dat")


def part_slice(out: Results, path: Path) -> None:
    """Stretches of 10 ms out of a recording of 1 GB."""
    blocks, block = 125, 1_000_000
    write_dat(path, Events([0], [0], [0], [0], SIZE))
    rng = np.random.default_rng(1)
    words = np.empty((block, 2), "<u4")
    with path.open("ab") as file:
        for number in range(blocks):
            words[:, 0] = np.sort(rng.integers(number * SPAN, (number + 1) * SPAN, block))
            words[:, 1] = rng.integers(0, SIZE[0], block) | rng.integers(0, SIZE[1], block) << 14
            file.write(words.tobytes())
    reader = open_events(path)
    starts = rng.integers(0, blocks * SPAN - 10_000, 101)
    times = []
    for start in starts:
        begun = time.perf_counter()
        events = reader.slice(int(start), int(start) + 10_000)
        times.append(time.perf_counter() - begun)
        assert 9000 < len(events) < 11_000
    begun = time.perf_counter()
    open_events(path).slice(60 * SPAN, 60 * SPAN + 10_000)
    cold = time.perf_counter() - begun
    median = statistics.median(times[1:])
    out.add(
        table="events", name="slice of 10 ms out of 1 GB .dat", metric="wall time", unit="ms", ours=1e3 * median,
        n=len(times) - 1, spread=1e3 * spread(times[1:]), target="< 5 ms", met=median < 5e-3,
        note=f"open reader, 10,000 events; opening the file and its first slice: {1e3 * cold:.1f} ms",
    )  # fmt: skip


def part_sampler(out: Results, repeats: int) -> None:
    cases = {
        "1x8 bins, 240x304, k=5, D=1, 3 samples": (1, 8, 240, 304, 5, 1, 3),
        "4x8 bins, 120x152, k=5, D=1, 3 samples": (4, 8, 120, 152, 5, 1, 3),
        "1x4 bins, 240x304, k=5, D=2, 1 sample": (1, 4, 240, 304, 5, 2, 1),
        "1x4 bins, 240x304, k=7, D=1, 1 sample": (1, 4, 240, 304, 7, 1, 1),
    }
    torch.manual_seed(0)
    for name, (batch, steps, height, width, kernel, depth, kept) in cases.items():
        sampler = ARSNNSampler(2, kernel, depth, kept).eval()
        x = torch.poisson(0.5 * torch.ones(batch, steps, 2, height, width))
        assert torch.allclose(sampler(x), sample(sampler, x), atol=1e-4)

        def forward(run: Callable[..., Any], x: torch.Tensor = x) -> None:
            with torch.no_grad():
                run(x)

        def both(run: Callable[..., Any], x: torch.Tensor = x) -> None:
            run(x).sum().backward()

        published = lambda x, sampler=sampler: sample(sampler, x)  # noqa: E731
        for title, job in (("forward", forward), ("forward + backward", both)):
            calls: dict[str, Callable[[], Any]] = {
                "ours": lambda job=job, sampler=sampler: job(sampler),
                "published form": lambda job=job, published=published: job(published),
            }
            times = interleaved(calls, repeats)
            ours, theirs = (statistics.median(times[each]) for each in ("ours", "published form"))
            out.add(
                table="sampler", name=f"sampler, {title}: {name}", metric="CPU time", unit="ms", ours=1e3 * ours,
                peer=("published form", 1e3 * theirs), ratio=theirs / ours, target=">= 1x", met=theirs >= ours,
                n=repeats, spread=1e3 * spread(times["ours"]),
            )  # fmt: skip


def part_synth(out: Results, repeats: int) -> None:
    for level in LEVELS:
        shapes = EventShapes(level, 8)
        scenes = [shapes.scene(place) for place in range(8)]
        sensor = Sensor(sigma=shapes.level.sigma, noise_hz=shapes.level.noise_hz)
        made = sum(len(simulate(scene, sensor, 0)) for scene in scenes)
        times = interleaved({"ours": lambda s=scenes, c=sensor: [simulate(x, c, 0) for x in s]}, repeats)["ours"]
        rate = made / statistics.median(times) / 1e6
        out.add(
            table="events", name=f"simulator, EventShapes {level}", metric="million events/s", ours=rate, n=repeats,
            target=">= 1", met=rate >= 1,
            note=f"{made:,} events of 8 clips, noise included, one core; generator {shapes.digest}",
        )  # fmt: skip


PARTS = {"bins": part_bins, "decode": part_decode, "sampler": part_sampler, "synth": part_synth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = Results("eas-det", "speed", threads=1, resume=True, command="python packages/eas-det/benchmarks/speed.py")
    for part in options.only:
        PARTS[part](out, options.repeats)
        out.write()
        print(f"{part}: done", flush=True)
    for row in out.rows:
        print(
            row["name"], row["ours"], row["unit"] or row["metric"], row["peer"], row["ratio"], row["met"], row["note"]
        )


if __name__ == "__main__":
    main()
