"""Loaders of foreign files against broken ones: a clean error or a valid object, never a crash, a hang, another error.

``python tools/fuzz.py [--seconds 60] [name ...]``. Each loader gets one sound file, which is then cut, flipped, grown
and shuffled under a fixed seed for so many seconds, in a process of its own: a crash or a hang there ends that process.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 20261128
HANG = 20  # seconds that one small file may take
CLEAN = (ValueError, TypeError, OSError, ImportError)  # what the packages promise for bad input


@dataclass(frozen=True)
class Loader:
    """What is fuzzed: ``make`` writes a sound file into a folder, ``load`` reads a file."""

    package: str
    name: str
    make: Callable[[Path], Path]
    load: Callable[[Path], object]


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


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


def _npz(folder: Path, **arrays: Any) -> Path:
    import numpy as np

    np.savez(folder / "sound.npz", **arrays)
    return folder / "sound.npz"


def _log(folder: Path) -> Path:
    import numpy as np

    return _npz(folder, train=np.stack([np.arange(40) % 11, np.arange(40) % 7]).astype(np.int32))


def _codebook(folder: Path) -> Path:
    import numpy as np

    import baco

    model = baco.BACO(ratio=0.5, random_state=0).fit((np.arange(60) % 11, np.arange(60) % 7))
    return Path(model.codebook_.save(folder / "codebook.npz"))


def _store(folder: Path) -> Path:
    """A store is a folder; what is broken is its description."""
    import scipy.sparse as sp

    import demm

    ring = sp.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(8, 8)).tocsr()
    return next(demm.save_store(folder / "store", {"ring": ring}).glob("*.json"))


def _load_store(path: Path) -> object:
    import demm

    original = next(path.parent.glob("store/*.json"), None)
    if original is None:
        return demm.load_store(path.parent)
    original.write_bytes(path.read_bytes())
    return demm.load_store(original.parent)


def _events(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import numpy as np

        import eas_det

        n = np.arange(64)
        events = eas_det.Events(n * 50, n % 32, n % 24, n % 2, sensor_size=(32, 24))
        path = folder / f"sound{suffix}"
        (eas_det.write_dat if suffix == ".dat" else eas_det.write_npz)(path, events)
        return path

    return make


def _read_events(path: Path) -> object:
    import eas_det

    return eas_det.open_events(path).read()


def _boxes(folder: Path) -> Path:
    import eas_det

    boxes = eas_det.make_boxes(2, t=[1000, 2000], x=[1, 3], y=[2, 4], w=[5, 7], h=[6, 8], class_id=[0, 1])
    eas_det.save_boxes(folder / "sound_bbox.npy", boxes)
    return folder / "sound_bbox.npy"


def _load_boxes(path: Path) -> object:
    import eas_det

    return eas_det.load_boxes(path)


def _recording(folder: Path) -> Path:
    import numpy as np

    from tecos_lvm import Recording
    from tecos_lvm.datasets import save_npz

    path = folder / "sound.npz"
    spikes = [[np.array(trial) for trial in cell] for cell in ([[1.0, 5.0], [2.0]], [[3.0], [7.0]])]
    save_npz(path, Recording(spikes, 10.0).bin(1.0))
    return path


def _mat(folder: Path) -> Path:
    source = Path(os.environ.get("SPK_DATA", "")) / "retina" / "Movie1Exp1.mat"
    path = folder / "sound.mat"
    path.write_bytes(source.read_bytes())
    return path


def _idx(folder: Path) -> Path:
    path = folder / "sound-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">IIII", 0x803, 6, 4, 4) + bytes(range(96)), mtime=0))
    return path


def _signs(kind: str) -> Callable[[Path], Path]:
    """One recording in DVS-SLR's layout; ``kind`` of its two files is what gets broken."""

    def make(folder: Path) -> Path:
        from slr_cma.data import split_keys
        from slr_cma.synth.layout import write_layout

        write_layout(folder, split_keys("all")[:1], seconds=0.3, rate=500, size=(24, 32))
        return next(folder.rglob(f"*_{kind}.npz"))

    return make


def _read_signs(kind: str) -> Callable[[Path], object]:
    def load(path: Path) -> object:
        from slr_cma.data import Binning, bin_recording, read_recording, scan

        files = scan(path.parent)[0][0]
        key = {"event": "events", "frame": "frames"}[kind]
        recording = read_recording(dataclasses.replace(files, **{key: path}), size=(24, 32))
        return bin_recording(recording, Binning(n_bins=2, crop=None, down=4, frames_per_bin=1))

    return load


def _aedat4(folder: Path) -> Path:
    import dv_processing as dv
    import numpy as np

    path = folder / "sound.aedat4"
    writer = dv.io.MonoCameraWriter(str(path), dv.io.MonoCameraWriter.DAVISConfig("DAVIS346", (346, 260)))
    store = dv.EventStore()
    for k in range(300):
        store.push_back(10**9 + 100 * k, k % 346, k % 260, k % 2 == 0)
    writer.writeEvents(store)
    for k in range(2):
        writer.writeFrame(dv.Frame(10**9 + 10_000 * k, np.full((260, 346, 3), 40, np.uint8)))
    return path


def _sign_cache(name: str) -> Callable[[Path], Path]:
    """A cache of signs is a folder; ``name`` is the file in it that gets broken."""

    def make(folder: Path) -> Path:
        import slr_cma
        from slr_cma.data import split_keys
        from slr_cma.synth.layout import write_layout

        write_layout(folder / "tree", split_keys("all")[:2], seconds=0.3, rate=500, size=(24, 32))
        small = {"size": (24, 32), "crop": None, "down": 8, "n_bins": 2, "frames_per_bin": 1}
        slr_cma.convert(folder / "tree", folder / "cache", on_missing="skip", progress=False, **small)
        return folder / "cache" / name

    return make


def _load_sign_cache(name: str) -> Callable[[Path], object]:
    def load(path: Path) -> object:
        from slr_cma.data import CachedSigns

        folder = path.parent if (path.parent / "index.json").is_file() else path.parent / "cache"
        if path.parent != folder:
            (folder / name).write_bytes(path.read_bytes())
        cache = CachedSigns(folder)
        return [cache[k] for k in range(len(cache))], cache.groups

    return load


def _sign_table(folder: Path) -> Path:
    path = _aedat4(folder)
    return _text("sound.csv", f"path,label,user\n{path.name},wave,ann\n{path.name},clap,bob\n")(folder)


def _convert_sign_table(path: Path) -> object:
    import slr_cma

    with tempfile.TemporaryDirectory(dir=path.parent) as out:
        return len(slr_cma.convert(path, out, n_bins=1, frames_per_bin=1, progress=False))


def _sign_model(folder: Path) -> Path:
    import slr_cma

    net = slr_cma.CMANet(3, size=(4, 4), channels=(2,), hidden=4)
    return slr_cma.save_model(net, folder / "sound").with_suffix(".json")


def _load_sign_model(path: Path) -> object:
    import slr_cma

    weights = path.with_suffix(".safetensors")
    weights.write_bytes((path.parent / "sound.safetensors").read_bytes())
    return slr_cma.load_model(weights)


def loaders() -> list[Loader]:
    """Every loader; what needs real data is left out where ``SPK_DATA`` is not set."""
    from baco import Codebook
    from baco.io import read_interactions
    from demm import read_edges
    from slr_cma.data import read_aedat4
    from spk_regularize.data import read_idx
    from tecos_lvm.datasets import load_npz, load_onken

    lines = "".join(f"u{k % 11},i{k % 7},{k % 5 + 1}\n" for k in range(40))
    edges = "src,dst,relation,weight\n" + "".join(f"{k % 9},{(k * 5) % 9},r{k % 2},1.5\n" for k in range(40))
    light = "".join(f"{k} {k % 5} {(k + 2) % 5}\n" for k in range(9))
    found = [
        Loader("baco", "csv", _text("log.csv", "user,item,rating\n" + lines), read_interactions),
        Loader("baco", "lightgcn", _text("train.txt", light), read_interactions),
        Loader("baco", "npz", _log, read_interactions),
        Loader("baco", "codebook", _codebook, Codebook.load),
        Loader("demm", "edges", _text("edges.csv", edges), read_edges),
        Loader("demm", "store", _store, _load_store),
        Loader("eas-det", "dat", _events(".dat"), _read_events),
        Loader("eas-det", "npz", _events(".npz"), _read_events),
        Loader("eas-det", "boxes", _boxes, _load_boxes),
        Loader("slr-cma", "events", _signs("event"), _read_signs("event")),
        Loader("slr-cma", "frames", _signs("frame"), _read_signs("frame")),
        Loader("slr-cma", "aedat4", _aedat4, read_aedat4),
        Loader("slr-cma", "table", _sign_table, _convert_sign_table),
        Loader("slr-cma", "index", _sign_cache("index.json"), _load_sign_cache("index.json")),
        Loader("slr-cma", "cache", _sign_cache("events.npy"), _load_sign_cache("events.npy")),
        Loader("slr-cma", "model", _sign_model, _load_sign_model),
        Loader("spk-regularize", "idx", _idx, read_idx),
        Loader("tecos-lvm", "npz", _recording, load_npz),
    ]
    if os.environ.get("SPK_DATA"):
        found.append(Loader("tecos-lvm", "mat", _mat, load_onken))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="packages; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each loader")
    parser.add_argument("--keep", type=Path, help="folder for the files that went wrong")
    given = parser.parse_args(arguments)
    failed = False
    for loader in loaders():
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
