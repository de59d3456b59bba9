"""Recordings, bins and files: what is refused, what comes back, what a hostile or cut file does; the generators."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tecos_lvm import Recording, SpikeDataset, TeCoSLVM, cli, from_arrays, metrics, time_code
from tecos_lvm.datasets import (
    SyntheticRetina,
    load_npz,
    load_nwb,
    load_onken,
    load_onken_folder,
    load_pillow_rgc,
    load_zheng_hdf5,
    make_nonlinear_retina,
    read_frames,
    save_npz,
)


def test_bins_are_closed_on_the_left_and_frames_hold() -> None:
    rec = Recording([[[0.0, 9.99, 10.0, 40.0]]], 40.0, np.arange(2.0)[:, None], np.array([0.0, 20.0]))
    assert rec.counts(10.0)[0, :, 0].tolist() == [2, 1, 0, 1]
    with pytest.warns(UserWarning, match=r"33\.3 % of the occupied"):
        data = rec.bin(10.0)
    assert data.stimulus is not None
    assert data.stimulus[:, 0].tolist() == [0, 0, 1, 1]


def test_trials_are_dealt_in_turn_and_time_is_cut() -> None:
    y = np.zeros((5, 10, 2), dtype=np.uint8)
    y[np.arange(5), np.arange(5), 0] = 1
    data = SpikeDataset(y, 5.0, np.arange(10.0)[:, None])
    even, odd = data.interleave()
    assert (even.n_trials, odd.n_trials) == (3, 2)
    assert odd.spikes[0, 1, 0] == 1
    assert [part.n_bins for part in data.segments(0.7, 0.1, 0.2)] == [7, 1, 2]
    assert data.silent == ("1",)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: Recording([[[3.0, 1.0]]], 10.0), "neuron 0, trial 0: spike times are not sorted"),
        (lambda: Recording([[[-1.0]]], 10.0), "negative"),
        (lambda: Recording([[[11.0]]], 10.0), "outside the recording"),
        (lambda: Recording([[[1.0]], [[1.0], []]], 10.0), "1 to 2 trials"),
        (lambda: Recording([], 10.0), "no neuron"),
        (lambda: Recording([[[1.0]]], 10.0, np.full((2, 1), np.nan), np.arange(2.0)), "nan or inf"),
        (lambda: Recording([[[1.0]]], 10.0, np.ones((2, 1)), np.zeros(2)), "ascending"),
        (lambda: Recording([[[1.0]]], 10.0).bin(0.0), "dt_ms"),
        (lambda: SpikeDataset(np.full((1, 4, 1), 3), 5.0), "not counts"),
        (lambda: SpikeDataset(np.zeros((1, 4, 1)), 5.0, np.zeros((3, 2))), "3 frames but the spikes 4 bins"),
        (lambda: SpikeDataset(np.zeros((1, 4, 1)), 5.0, np.full((4, 2), np.inf)), "nan or inf in 4 frame"),
        (lambda: from_arrays(dt_ms=5.0), "give either"),
        (lambda: from_arrays(dt_ms=5.0, spikes=np.full((1, 4, 1), 2)), "binarize=True"),
        (lambda: from_arrays(dt_ms=5.0, spike_times=[[[1.0]]]), "duration_ms"),
    ],
)
def test_refused(call: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()  # type: ignore[operator]


def test_counts_are_clipped_when_asked() -> None:
    assert from_arrays(dt_ms=5.0, spikes=np.full((1, 4, 1), 2), binarize=True).spikes.max() == 1


def test_npz_round_trip_and_damage(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = (rng.random((3, 17, 2)) < 0.3).astype(np.uint8)
    data = SpikeDataset(y, 5.0, rng.random((17, 2, 2)), ("a", "b"), {"x": 1})
    path = tmp_path / "d.npz"
    save_npz(path, data)
    again = load_npz(path)
    assert (again.spikes == y).all()
    assert (again.neuron_ids, again.dt_ms, again.meta) == (("a", "b"), 5.0, {"x": 1})
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"d\.npz"):
            load_npz(path)
    head = {"schema": 1, "dt_ms": 5, "shape": [2**40, 2**40, 1], "neuron_ids": [], "meta": {}}
    np.savez(path, head=np.frombuffer(json.dumps(head).encode(), dtype=np.uint8), spikes=np.zeros(1, dtype=np.uint8))
    with pytest.raises(ValueError, match="do not fit the shape"):
        load_npz(path)


def test_frames_of_the_archive(tmp_path: Path) -> None:
    for number in (2, 10, 1):
        frame = np.full((4, 6), number, dtype=np.uint8)
        frame[0, 5] = 99
        (tmp_path / f"frame{number}.raw").write_bytes(frame.tobytes(order="F"))
    frames = read_frames(tmp_path, shape=(4, 6))
    assert frames[:, 1, 1].tolist() == [1, 2, 10]
    assert (frames[:, 0, 5] == 99).all()
    assert read_frames(tmp_path, shape=(4, 6), size=2)[1, 1, 0] == 2.0
    (tmp_path / "frame3.raw").write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"frame3\.raw has 3 bytes"):
        read_frames(tmp_path, shape=(4, 6))


def test_nwb(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.nwb"
    with h5py.File(path, "w") as file:
        file["units/spike_times"] = np.array([1.0, 1.25, 3.5, 1.1])
        file["units/spike_times_index"] = np.array([3, 4])
        file["units/id"] = np.array([7, 9])
        file["intervals/trials/start_time"] = np.array([1.0, 3.0])
        file["intervals/trials/stop_time"] = np.array([2.0, 4.0])
        file["stimulus/presentation/movie/data"] = np.arange(8.0).reshape(4, 2)
        file["stimulus/presentation/movie/timestamps"] = np.array([0.5, 1.5, 1.9, 3.0])
    rec = load_nwb(path, stimulus="movie")
    assert rec.neuron_ids == ("7", "9")
    assert [[t.tolist() for t in trials] for trials in rec.spike_times] == [
        [[0.0, 250.0], [500.0]],
        [[pytest.approx(100.0)], []],
    ]
    assert rec.frame_times_ms is not None
    assert rec.frame_times_ms.tolist() == pytest.approx([0.0, 500.0, 900.0])
    with pytest.raises(ValueError, match="choose one of its series"):
        load_nwb(path, stimulus="film")
    with h5py.File(path, "a") as file:
        file["units/spike_times_index"][...] = [3, 400]
    with pytest.raises(ValueError, match="does not fit 4 spike times"):
        load_nwb(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"a\.nwb"):
        load_nwb(path)


def test_nwb_images_by_index_keep_their_own_order(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "i.nwb"
    with h5py.File(path, "w") as file:
        file["units/spike_times"], file["units/spike_times_index"] = np.array([0.1]), np.array([1])
        images = file.create_group("stimulus/templates/pictures")
        for name, value in (("a", 1.0), ("b", 2.0)):
            images[name] = np.full((2, 2), value)
        order = np.array([images["b"].ref, images["a"].ref], dtype=h5py.ref_dtype)  # image 0 is b
        images.create_dataset("order_of_images", data=order)
        shown = file.create_group("stimulus/presentation/flashes")
        shown["data"], shown["timestamps"] = np.array([1, 0, 1]), np.array([0.0, 0.02, 0.04])
        shown["indexed_images"] = h5py.SoftLink("/stimulus/templates/pictures")
    rec = load_nwb(path, stimulus="flashes", trials=None)
    assert rec.stimulus is not None
    assert rec.stimulus[:, 0, 0].tolist() == [1.0, 2.0, 1.0]
    with h5py.File(path, "a") as file:
        file["stimulus/presentation/flashes/data"][...] = [0, 1, 2]
    with pytest.raises(ValueError, match="image index of 2 where there are 2"):
        load_nwb(path, stimulus="flashes", trials=None)


def test_zheng(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "z.hdf5"
    with h5py.File(path, "w") as file:
        file["mov3_trn_x"] = np.zeros((5, 6, 7))
        file["mov3_trn_y"] = np.full((2, 3, 7), 2)
    data = load_zheng_hdf5(path)
    assert data.spikes.shape == (2, 7, 3)
    assert data.spikes.max() == 1
    with pytest.raises(ValueError, match="mov3_tst_x"):
        load_zheng_hdf5(path, part="tst")


def test_folders_of_matlab_files(tmp_path: Path) -> None:
    from scipy.io import savemat

    cells = np.empty((1, 2), dtype=object)
    cells[0, 0], cells[0, 1] = np.array([[3], [700]], dtype=np.int32), np.zeros((0, 1), dtype=np.int32)
    images = np.empty((1, 1), dtype=object)
    images[0, 0] = cells
    savemat(tmp_path / "Movie1Exp1.mat", {"Spikes": cells})
    savemat(tmp_path / "NaturalImages1.mat", {"Spikes": images})
    found = load_onken_folder(tmp_path)
    assert list(found) == ["Movie1Exp1"]
    assert found["Movie1Exp1"].spike_times[0][0].tolist() == [2.5, 699.5]
    even, odd = found["Movie1Exp1"].split()
    assert (even.n_spikes, odd.n_spikes) == (2, 0)
    with pytest.raises(FileNotFoundError, match="load_onken_folder"):
        load_onken(tmp_path)
    with pytest.raises(FileNotFoundError, match="no movie recording"):
        load_onken_folder(tmp_path / "none")
    times = np.empty((1, 1), dtype=object)
    times[0, 0] = np.array([[0.5], [1.011], [9.0]])
    savemat(tmp_path / "Stim.mat", {"Stim": np.array([[0.48], [-0.48], [0.48]])})
    savemat(tmp_path / "stimtimes.mat", {"stimtimes": np.array([[1.0], [1.01], [1.02]])})
    savemat(tmp_path / "SpTimes.mat", {"SpTimes": times})
    rec = load_pillow_rgc(tmp_path)
    assert rec.meta["frame_ms"] == pytest.approx(10.0)
    assert rec.spike_times[0][0] == pytest.approx([11.0])
    assert rec.bin(10.0).spikes[0, :, 0].tolist() == [0, 1, 0]
    savemat(tmp_path / "Stim.mat", {"Stim": np.zeros((2, 1))})
    with pytest.raises(ValueError, match="do not belong together"):
        load_pillow_rgc(tmp_path)


def test_generator_is_fixed_by_version_and_seed(small: SyntheticRetina) -> None:
    from tecos_lvm.datasets import make_retina

    again = make_retina(n_neurons=4, size=6, train_s=30, val_s=4, test_s=4, val_trials=6, test_trials=8, seed=3)
    assert (again.hash, again.version) == (small.hash, 1)
    assert (again.train.spikes == small.train.spikes).all()
    assert (small.test.spikes != make_retina(n_neurons=4, size=6, train_s=30, val_s=4, test_s=4, val_trials=6,
                                             test_trials=8, seed=4).test.spikes).any()  # fmt: skip
    # the true rate, saturated as binary bins saturate it, explains the trials up to their ceiling
    rate = small.truth.rate_hz["test"]
    p, y = 1 - np.exp(-rate * 0.01), small.test
    assert np.nanmean(metrics.pearson(metrics.smooth(p, 10.0), metrics.smooth(y.psth, 10.0))) > 0.9


def test_nonlinear_generator_has_cells_without_a_linear_field() -> None:
    retina = make_nonlinear_retina(n_neurons=3, size=10, train_s=40, val_s=2, test_s=2, val_trials=2, test_trials=2)
    frames, y = retina.train.stimulus, retina.train.spikes[0].astype(float)
    assert frames is not None
    lagged = np.stack([np.roll(frames.reshape(len(frames), -1), lag, axis=0) for lag in range(1, 8)], axis=1)
    triggered = np.einsum("tn,tlp->nlp", y, lagged) / y.sum(axis=0)[:, None, None]
    strength = np.abs(triggered).max(axis=(1, 2))
    assert strength[2] < 0.5 * strength[:2].min()  # ON-OFF
    assert 2 < retina.train.spikes.mean() * 100 < 20


def test_report_between_floor_and_ceiling() -> None:
    rng = np.random.default_rng(0)
    p = 0.1 + 0.1 * rng.random((400, 3))

    def refractory(trials: int) -> np.ndarray:
        y = np.zeros((trials, 400, 3), dtype=np.uint8)
        for t in range(400):
            free = 1 - (y[:, t - 1] if t else 0)
            y[:, t] = (rng.random((trials, 3)) < 2 * p[t]) & (free > 0)
        return y

    real, good = refractory(40), refractory(20)
    bad = (rng.random((20, 400, 3)) < real.mean(axis=0)).astype(np.uint8)
    good_, bad_ = (metrics.SpikeReport(real, m, 5.0).summary() for m in (good, bad))
    for name in ("ISI KS", "autocorrelogram RMSE"):
        assert good_["model"][name] < 0.5 * good_["rate"][name]
        assert bad_["model"][name] == pytest.approx(bad_["rate"][name], rel=0.5)
    real[:, :, 1] = 0
    report = metrics.SpikeReport(real, good, 5.0, neuron_ids=("a", "b", "c"))
    assert report.silent == ("b",)
    assert "neurons b" in report.table()
    assert json.loads(report.to_json())["silent"] == ["b"]


def test_time_code_is_different_in_every_bin() -> None:
    x = time_code(300, 5.0)
    assert len(np.unique(x.round(4), axis=0)) == 300


def test_command(
    tmp_path: Path, small: SyntheticRetina, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["tecos-lvm", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    for name in ("train", "test"):
        save_npz(tmp_path / f"{name}.npz", getattr(small, name))
    code, out, _ = run("fit", tmp_path / "train.npz", "-o", tmp_path / "run", "--steps", 5, "--json")
    assert code == 0
    assert json.loads(out)["steps"] == 5
    np.save(tmp_path / "movie.npy", small.test.stimulus[:50])
    code, out, _ = run(
        "generate", tmp_path / "run/model", tmp_path / "movie.npy", "-o", tmp_path / "g.npz", "--trials", 3
    )
    assert code == 0
    assert load_npz(tmp_path / "g.npz").spikes.shape == (3, 50, 4)
    code, out, _ = run(
        "evaluate", tmp_path / "run/model", tmp_path / "test.npz", "--train", tmp_path / "train.npz", "--json"
    )
    assert code == 0
    assert 0 < json.loads(out)["ceiling"] <= 1
    (tmp_path / "cfg.toml").write_text(
        "[data]\ntrain = 'train.npz'\nval = 'test.npz'\n[model]\nfeature_dim = 8\n[train]\nsteps = 9\n"
        "[loss]\nbeta = 0.01\n"
    )
    code, out, _ = run("fit", tmp_path / "cfg.toml", "-o", tmp_path / "run2", "--steps", 3, "--json")
    assert code == 0
    assert json.loads(out)["steps"] == 3
    assert TeCoSLVM.from_pretrained(tmp_path / "run2/model").config.feature_dim == 8
    (tmp_path / "bad.toml").write_text("[data]\nval = 'test.npz'\n")
    code, _, err = run("fit", tmp_path / "bad.toml", "-o", tmp_path / "run3")
    assert code == 2
    assert "names no training data" in err
    pytest.importorskip("matplotlib")
    code, out, _ = run(
        "report", tmp_path / "test.npz", tmp_path / "run/model", "--html", tmp_path / "r.html", "--samples", 3, "--json"
    )
    assert code == 0
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    code, _, err = run("convert", "onken", tmp_path / "none.mat", tmp_path / "o.npz")
    assert code == 2
    assert err.count("\n") == 1
    assert "none.mat is not a file" in err
