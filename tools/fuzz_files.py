"""The loaders of foreign files, each with one sound file: what ``tools/fuzz.py`` breaks."""

from __future__ import annotations

import dataclasses
import gzip
import os
import pickle
import runpy
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monorepo


@dataclass(frozen=True)
class Loader:
    """What is fuzzed: ``make`` writes a sound file into a folder, ``load`` reads a file."""

    package: str
    name: str
    make: Callable[[Path], Path]
    load: Callable[[Path], object]


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

        write_layout(folder, split_keys("all")[:1], seconds=0.3, rate=500, size=(24, 32), flat=True)
        return next(folder.glob(f"*_{kind}.npz"))

    return make


def _read_signs(kind: str) -> Callable[[Path], object]:
    def load(path: Path) -> object:
        from slr_cma.data import Binning, bin_recording, read_recording, scan, split_keys

        files = scan(path.parent, split_keys("all")[:1])[0][0]
        broken: dict[str, Any] = {f"{kind}s": path}
        recording = read_recording(dataclasses.replace(files, **broken), size=(24, 32))
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
        small: dict[str, Any] = {"size": (24, 32), "crop": None, "down": 8, "n_bins": 2, "frames_per_bin": 1}
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


def _parquet(folder: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    path = folder / "sound.parquet"
    columns = {"user": [f"u{k % 11}" for k in range(40)], "item": [k % 7 for k in range(40)]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def _encoded(suffix: str, encoder: str) -> Callable[[Path], Path]:
    """A recording in a format that the package only reads, by the encoder of its tests."""

    def make(folder: Path) -> Path:
        recipes = runpy.run_path(str(monorepo.read()["eas-det"].tests / "conftest.py"))
        path = folder / f"sound{suffix}"
        path.write_bytes(recipes[encoder](recipes["make_events"](64)))
        return path

    return make


def _event_table(folder: Path) -> Path:
    return _text("sound.csv", "t,x,y,p\n" + "".join(f"{50 * k},{k % 32},{k % 24},{k % 2}\n" for k in range(64)))(folder)


def _event_h5(folder: Path) -> Path:
    import h5py
    import numpy as np

    n = np.arange(64)
    path = folder / "sound.h5"
    with h5py.File(path, "w") as file:
        for name, values in {"t": n * 50, "x": n % 32, "y": n % 24, "p": n % 2}.items():
            file[f"events/{name}"] = values
    return path


def _retina_h5(folder: Path) -> Path:
    import h5py
    import numpy as np

    path = folder / "sound.h5"
    with h5py.File(path, "w") as file:
        file["mov3_trn_x"] = np.arange(96, dtype=np.uint8).reshape(4, 4, 6)
        file["mov3_trn_y"] = np.arange(36).reshape(2, 3, 6) % 2
    return path


def _cifar(folder: Path) -> Path:
    """A pickled batch, as the originals are; the others of the set lie beside it."""
    import numpy as np

    rows = np.arange(4 * 3072, dtype=np.uint32).astype(np.uint8).reshape(4, 3072)
    content = pickle.dumps({b"data": rows, b"labels": [0, 1, 2, 3]}, protocol=2)
    path = folder / "test_batch"
    path.write_bytes(content)
    return path


def _load_cifar(path: Path) -> object:
    from spk_regularize.data import read_cifar

    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        (Path(place) / "test_batch").write_bytes(path.read_bytes())
        return read_cifar(place, "test")


def _pictures(folder: Path) -> Path:
    """Pictures in a zip, a folder per class."""
    import io
    import zipfile

    from PIL import Image

    path = folder / "sound.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(4):
            raw = io.BytesIO()
            Image.new("RGB", (8, 8), (40 * k, 10, 200)).save(raw, "png")
            archive.writestr(f"class{k % 2}/{k}.png", raw.getvalue())
    return path


def _movie(folder: Path) -> Path:
    """One raw frame of a stimulus."""
    path = folder / "sound.raw"
    path.write_bytes(bytes(range(64)))
    return path


def _read_movie(path: Path) -> object:
    from tecos_lvm.datasets import read_frames

    return read_frames(path.parent, shape=(8, 8), pattern=path.name)


def loaders() -> list[Loader]:
    """Every loader; what needs real data is left out where ``SPK_DATA`` is not set."""
    from baco import Codebook
    from baco.io import read_interactions
    from demm import read_edges
    from slr_cma.data import read_aedat4
    from spk_regularize.data import read_idx, read_image_folder
    from tecos_lvm.datasets import load_npz, load_onken, load_zheng_hdf5

    lines = "".join(f"u{k % 11},i{k % 7},{k % 5 + 1}\n" for k in range(40))
    edges = "src,dst,relation,weight\n" + "".join(f"{k % 9},{(k * 5) % 9},r{k % 2},1.5\n" for k in range(40))
    light = "".join(f"{k} {k % 5} {(k + 2) % 5}\n" for k in range(9))
    found = [
        Loader("baco", "csv", _text("log.csv", "user,item,rating\n" + lines), read_interactions),
        Loader("baco", "lightgcn", _text("train.txt", light), read_interactions),
        Loader("baco", "npz", _log, read_interactions),
        Loader("baco", "parquet", _parquet, read_interactions),
        Loader("baco", "codebook", _codebook, Codebook.load),
        Loader("demm", "edges", _text("edges.csv", edges), read_edges),
        Loader("demm", "store", _store, _load_store),
        Loader("eas-det", "dat", _events(".dat"), _read_events),
        Loader("eas-det", "npz", _events(".npz"), _read_events),
        Loader("eas-det", "evt2", _encoded(".raw", "encode_evt2"), _read_events),
        Loader("eas-det", "evt3", _encoded(".raw", "encode_evt3"), _read_events),
        Loader("eas-det", "es", _encoded(".es", "encode_es"), _read_events),
        Loader("eas-det", "bin", _encoded(".bin", "encode_bin"), _read_events),
        Loader("eas-det", "csv", _event_table, _read_events),
        Loader("eas-det", "h5", _event_h5, _read_events),
        Loader("eas-det", "aedat4", _aedat4, _read_events),
        Loader("eas-det", "boxes", _boxes, _load_boxes),
        Loader("slr-cma", "events", _signs("event"), _read_signs("event")),
        Loader("slr-cma", "frames", _signs("frame"), _read_signs("frame")),
        Loader("slr-cma", "aedat4", _aedat4, read_aedat4),
        Loader("slr-cma", "table", _sign_table, _convert_sign_table),
        Loader("slr-cma", "index", _sign_cache("index.json"), _load_sign_cache("index.json")),
        Loader("slr-cma", "cache", _sign_cache("events.npy"), _load_sign_cache("events.npy")),
        Loader("slr-cma", "model", _sign_model, _load_sign_model),
        Loader("spk-regularize", "idx", _idx, read_idx),
        Loader("spk-regularize", "cifar", _cifar, _load_cifar),
        Loader("spk-regularize", "pictures", _pictures, read_image_folder),
        Loader("tecos-lvm", "npz", _recording, load_npz),
        Loader("tecos-lvm", "zheng", _retina_h5, load_zheng_hdf5),
        Loader("tecos-lvm", "frames", _movie, _read_movie),
    ]
    if os.environ.get("SPK_DATA"):
        found.append(Loader("tecos-lvm", "mat", _mat, load_onken))
    return found
