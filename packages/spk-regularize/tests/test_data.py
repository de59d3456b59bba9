"""Readers: good files, truncated files, hostile files; the generator's promise."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spk_regularize import DataError, ImageSet, load, synthetic_margin
from spk_regularize.data import read_cifar, read_idx, read_image_folder, read_mnist


def idx(array: np.ndarray[Any, Any]) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def test_idx_round_trip(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    for name, data in (("a", idx(array)), ("a.gz", gzip.compress(idx(array)))):
        (tmp_path / name).write_bytes(data)
        assert np.array_equal(read_idx(tmp_path / name).numpy(), array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x01\x02\x08\x01", "byte 0 holds"),
        (b"", "byte 0 holds"),
        (b"\0\0\x0d\x01" + b"\0\0\0\0", "byte 2 says type 0x0d"),
        (b"\0\0\x08\x03" + b"\0\0\0\x01", "header ends at byte 8 of 16"),
        (idx(np.zeros((3, 2)))[:-1], "from byte 12 there are 5 values"),
        (b"\0\0\x08\x01\xff\xff\xff\xff", "needs 4294967295"),
    ],
)
def test_broken_idx(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "bad")


def test_broken_gzip(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(np.zeros((3, 2))))[:-6])
    with pytest.raises(DataError, match="not a whole gzip"):
        read_idx(tmp_path / "a.gz")


def test_mnist_folder(tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(np.ones((5, 4, 4))))
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte"):
        read_mnist(tmp_path, "test")
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(5))))
    data = read_mnist(tmp_path, "test")
    assert data.shape == (1, 4, 4)
    assert data.labels.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.data
def test_mnist_of_the_shared_folder(spk_data: Callable[[str], Path], known: dict[str, Any]) -> None:
    data = read_mnist(spk_data("images/mnist"), "test")
    assert len(data) == known["mnist_test"]["n"]
    assert int(data.images.long().sum()) == known["mnist_test"]["sum"]


@pytest.mark.data
def test_cifar_of_the_shared_zip(spk_data: Callable[[str], Path]) -> None:
    pytest.importorskip("PIL", reason="pillow is not installed")
    data = read_image_folder(spk_data("images/cifar10_jpeg.zip"), "test", limit=3)
    assert data.shape == (3, 32, 32)
    assert len(data) == 30
    assert data.classes == 10


def batch(n: int, labels: bytes = b"labels") -> dict[bytes, Any]:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3072)).astype(np.uint8)
    return {b"data": pixels, labels: [i % 10 for i in range(n)]}


def test_cifar_in_both_forms(tmp_path: Path) -> None:
    content = batch(4)
    (tmp_path / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    a = read_cifar(tmp_path, "test")
    rows = np.concatenate([np.array(content[b"labels"], np.uint8)[:, None], content[b"data"]], axis=1)
    (tmp_path / "test_batch.bin").write_bytes(rows.tobytes())
    b = read_cifar(tmp_path, "test")
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)
    (tmp_path / "test_batch.bin").write_bytes(rows.tobytes()[:-1])
    with pytest.raises(DataError, match="from byte 9219 there is no whole record"):
        read_cifar(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match="data_batch_1"):
        read_cifar(tmp_path, "train")


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path("owned"), "x"))


@pytest.mark.parametrize("content", [Hostile(), {b"data": Hostile()}], ids=["bare", "nested"])
def test_hostile_pickles_run_nothing(content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match="refused"):
        read_cifar(tmp_path, "test")
    assert not (tmp_path / "owned").exists()


def test_cifar_batches_of_another_kind(tmp_path: Path) -> None:
    for content, message in (([1, 2], "holds a list"), (batch(2, b"other"), "no data"), ({b"data": 1}, "no data")):
        (tmp_path / "test_batch").write_bytes(pickle.dumps(content))
        with pytest.raises(DataError, match=message):
            read_cifar(tmp_path, "test")


def test_image_folders(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    for c, name in enumerate(("cat", "dog")):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((4, 5, 3), 40 * i + c, np.uint8)).save(tmp_path / "train" / name / f"{i}.png")
    data = read_image_folder(tmp_path, "train", cache=tmp_path / "c.npz")
    assert data.images.shape == (6, 3, 4, 5)
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.images[5].unique().tolist() == [81]
    again = read_image_folder(tmp_path, "train", cache=tmp_path / "c.npz")
    assert torch.equal(again.images, data.images)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in (tmp_path / "train").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path).as_posix())
    assert torch.equal(read_image_folder(tmp_path / "a.zip", "train").images, data.images)
    assert read_image_folder(tmp_path, "train", grey=True, limit=1).images.shape == (2, 1, 4, 5)
    (tmp_path / "train" / "dog" / "9.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"train/dog/9.png: not a picture"):
        read_image_folder(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="no pictures under"):
        read_image_folder(tmp_path, "test")
    buffer = io.BytesIO((tmp_path / "a.zip").read_bytes()[:-30])
    (tmp_path / "b.zip").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="not a whole zip"):
        read_image_folder(tmp_path / "b.zip", "train")


def test_splits_are_stratified_and_seeded() -> None:
    split = load("digits", validation=0.2)
    assert len(split.train) + len(split.validation) + len(split.test) == 1797
    counts = torch.bincount(split.validation.labels, minlength=10)
    assert int(counts.max() - counts.min()) <= 2
    again = load("digits", validation=0.2)
    assert torch.equal(again.train.images, split.train.images)
    other = load("digits", validation=0.2, seed=1)
    assert torch.equal(other.test.images, split.test.images)
    assert not torch.equal(other.train.images, split.train.images)
    assert split.train.x().min() >= 0
    assert split.train.x().max() == 1


def test_unknown_data() -> None:
    with pytest.raises(ValueError, match="'imagenet' is not known"):
        load("imagenet")
    with pytest.raises(ValueError, match="give their folder"):
        load("mnist")
    with pytest.raises(ValueError, match=r"expected \[N, C, H, W\]"):
        ImageSet(torch.zeros(3, 4), torch.zeros(3), 2)


def test_synthetic_margins_are_what_they_say() -> None:
    made = synthetic_margin(200, size=5, margin=0.08, spread=0.05, seed=2)
    x = made.data.x().double().flatten(1)
    assert made.w.abs().sum().item() == pytest.approx(1)
    assert torch.allclose(((x - 0.5) @ made.w).abs(), made.margins)
    assert float(made.margins.min()) >= 0.08 - 1e-6
    assert float(made.margins.max()) <= 0.13 + 1e-6
    with torch.no_grad():
        assert torch.equal(made.ideal()(made.data.x()).argmax(1), made.data.labels)
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1
    with pytest.raises(ValueError, match="pixels stay in"):
        synthetic_margin(margin=0.4)
