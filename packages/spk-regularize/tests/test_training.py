"""Training, encoders, models, files, pictures, command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from spk_neurons import LIF, encode
from spk_regularize import (
    ImageSet,
    Latency,
    Poisson,
    RobustTrainer,
    SignedPoisson,
    SpikingClassifier,
    Split,
    TrainConfig,
    build_model,
    evaluate_robustness,
    load_model,
    run_config,
    save_model,
    select_on_validation,
)
from spk_regularize.cli import app, main
from spk_regularize.models import MODELS, SURROGATES
from spk_regularize.plot import curves, overlap_map, potential_histograms

FAST: dict[str, Any] = {"epochs": 2, "eps": 0.1}


def small(seed: int = 0) -> SpikingClassifier:
    return build_model("cnn", channels=(4, 4), seed=seed)


def states(model: torch.nn.Module) -> list[torch.Tensor]:
    return [v.detach().clone() for v in model.state_dict().values()]


@pytest.mark.parametrize("method", ["clean", "at", "trades", "rat"])
def test_methods_learn_and_resume_to_equal_weights(method: Any, split: Split, tmp_path: Path) -> None:
    data = split.train.take(slice(0, 300))
    config = TrainConfig(method=method, regularizer="mpd-sgr:eta=1", **FAST)
    whole = small()
    result = RobustTrainer(whole, config).fit(data, folder=tmp_path / "whole")
    assert result.last["task"] < result.history[0]["task"]
    assert [row["epoch"] for row in result.history] == [1.0, 2.0]
    halved = small()
    RobustTrainer(halved, config).fit(data, folder=tmp_path / "halved", stop_after=1)
    again = small(seed=7)
    done = RobustTrainer(again, config).fit(data, folder=tmp_path / "halved")
    assert all(torch.equal(a, b) for a, b in zip(states(whole), states(again), strict=True))
    assert len(done.history) == 2
    lines = (tmp_path / "halved" / "metrics.csv").read_text().splitlines()
    assert len(lines) == 3
    assert "MPDSGR" in lines[0]
    with pytest.raises(ValueError, match="another configuration"):
        RobustTrainer(small(), TrainConfig(method=method, lr=0.05, **FAST)).fit(data, folder=tmp_path / "halved")


def test_training_leaves_the_global_generator(split: Split) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    RobustTrainer(small(), TrainConfig(epochs=1)).fit(split.train.take(slice(0, 100)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_adversarial_training_helps(trained: SpikingClassifier, split: Split) -> None:
    model = build_model("cnn", channels=(8, 12), seed=0)
    RobustTrainer(model, TrainConfig(method="at", epochs=4, eps=0.1)).fit(split.train)
    plain, at = (
        evaluate_robustness(each, split.test, 0.1, battery="quick", n=80, masking=False).worst_case[0.1]
        for each in (trained, model)
    )
    assert at > plain + 0.1


def test_mpd_sgr_moves_the_potentials(split: Split) -> None:
    from spk_regularize import summarise_layers

    overlaps = []
    for text in ("", "mpd-sgr:eta=10"):
        model = small()
        RobustTrainer(model, TrainConfig(epochs=3, regularizer=text)).fit(split.train)
        rows = summarise_layers(model, split.validation.x())
        overlaps.append(sum(row.inside or 0 for row in rows) / len(rows))
    assert overlaps[1] < 0.6 * overlaps[0]


def test_choice_is_made_on_validation(split: Split) -> None:
    configs = [TrainConfig(epochs=3, lr=1e-6), TrainConfig(epochs=3, lr=0.1)]
    data = split.train.take(slice(0, 600))
    best, rows = select_on_validation(small, configs, data, split.validation.take(slice(0, 60)), eps=0.005)
    assert best is configs[1]
    assert rows[1]["clean"] > rows[0]["clean"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "adv"}, "method='adv' is not known"),
        ({"epochs": 0}, "epochs=0 given"),
        ({"lr": -1}, "expected > 0"),
        ({"optimizer": "lion"}, "'lion' is not known"),
    ],
)
def test_bad_configurations(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)
    with pytest.raises(ValueError, match="'epoch'"):
        TrainConfig.from_dict({"epoch": 3})


def test_a_diverging_loss_is_named(split: Split) -> None:
    class Nan(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.w * torch.full((len(x), 10), torch.nan)

    with pytest.raises(ValueError, match="nan or inf"):
        RobustTrainer(Nan(), TrainConfig(epochs=1)).fit(split.train.take(slice(0, 60)))
    with pytest.raises(ValueError, match="training set is empty"):
        RobustTrainer(small()).fit(split.train.take(slice(0, 0)))


@pytest.mark.parametrize("name", ["mlp", "cnn", "vgg5", "small_resnet", "wrn16_4", "resnet18"])
def test_models(name: str) -> None:
    options: dict[str, Any] = {"hidden": 32} if name.startswith("vgg") else {}
    model = build_model(name, shape=(3, 16, 16), classes=7, steps=2, seed=0, **options)
    z = model(torch.rand(2, 3, 16, 16))
    assert z.shape == (2, 7)
    z.sum().backward()
    first = next(model.parameters())
    assert first.grad is not None
    assert all(m.numbers()["gain"] == 1.0 for m in model.modules() if isinstance(m, LIF))


def test_deep_vggs_have_their_layers() -> None:
    with torch.device("meta"):
        nets = {n: MODELS[n]((3, 32, 32), 10, _parts()) for n in ("vgg11", "vgg16")}
    count = {n: sum(isinstance(m, torch.nn.Conv2d) for m in net.modules()) for n, net in nets.items()}
    assert count == {"vgg11": 8, "vgg16": 13}


def _parts() -> Any:
    from spk_regularize.models import _Parts

    return _Parts(0.5, "triangle", 1.0, "hard")


@pytest.mark.parametrize("size", [(8, 6), (5, 7)])
def test_pooling_equals_torch(size: tuple[int, int]) -> None:
    from spk_regularize.models import _Halve

    x = (torch.rand(3, 2, *size) < 0.4).float().requires_grad_()
    g = torch.rand(3, 2, size[0] // 2, size[1] // 2)
    ours, theirs = _Halve()(x), torch.nn.functional.avg_pool2d(x, 2)
    assert torch.equal(ours, theirs)
    assert torch.equal(*(torch.autograd.grad((y * g).sum(), x)[0] for y in (ours, theirs)))


def test_direct_coding_once_equals_every_step() -> None:
    model = small().eval()
    x = torch.rand(5, 1, 8, 8)
    once = model.net(x.expand(4, 5, 1, 8, 8))
    each = model.net(x.expand(4, 5, 1, 8, 8).clone())
    assert torch.allclose(once, each, atol=1e-5)


def test_every_surrogate_builds_and_unknown_names_are_refused() -> None:
    for surrogate in SURROGATES:
        assert build_model("mlp", surrogate=surrogate, hidden=(4,))(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    for options, message in (
        ({"name": "lenet"}, "'lenet' is not known"),
        ({"surrogate": "box"}, "'box' is not known"),
        ({"encoder": "ttfs"}, "'ttfs' is not known"),
        ({"width": 3}, "model 'cnn'"),
        ({"decay": 0.0}, "leak in"),
        ({"mean": (0.5,)}, "expected both or none"),
    ):
        with pytest.raises(ValueError, match=message):
            build_model(**options)


def test_encoders_pass_gradients() -> None:
    x = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    mean = Poisson(4000)(x).mean(0)
    assert torch.allclose(mean, x, atol=0.05)
    signed = SignedPoisson(4000)(x).mean(0)
    assert torch.allclose(signed, 2 * x - 1, atol=0.05)
    for encoder, slope in ((Poisson(5), 5.0), (SignedPoisson(5), 10.0)):
        leaf = x.clone().requires_grad_()
        out = encoder(leaf)
        out.sum().backward()
        assert leaf.grad is not None
        if slope == 5.0:
            assert torch.equal(leaf.grad, torch.full_like(x, slope))
        else:
            assert bool((leaf.grad.abs() <= slope).all())
            assert bool(leaf.grad.any())
    latency = Latency(5)
    assert torch.equal(latency(x), encode.latency(x, 5))
    leaf = x.clone().requires_grad_()
    weights = torch.arange(5.0).reshape(5, 1, 1, 1, 1)
    # a spike one step earlier lowers the sum of t by one; x moves it by T - 1 = 4 steps
    (latency(leaf) * weights).sum().backward()
    assert leaf.grad is not None
    assert torch.allclose(leaf.grad, torch.full_like(x, -4.0))


def test_models_in_files(tmp_path: Path, trained: SpikingClassifier, few: ImageSet) -> None:
    path = save_model(trained, tmp_path / "model.npz")
    again = load_model(path)
    with torch.no_grad():
        assert torch.equal(again(few.x()), trained(few.x()))
    (tmp_path / "bad.npz").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"bad.npz is no model"):
        load_model(tmp_path / "bad.npz")
    with pytest.raises(FileNotFoundError, match="is missing"):
        load_model(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="has no config"):
        save_model(SpikingClassifier(torch.nn.Linear(2, 2), time="inside"), tmp_path / "x.npz")


CONFIG: dict[str, Any] = {
    "data": {"name": "digits", "train": 200, "test": 40},
    "model": {"name": "cnn", "channels": [4, 4]},
    "train": {"epochs": 1, "regularizer": "mpd-sgr:eta=1"},
    "evaluate": {"eps": [0.05], "battery": "quick", "masking": False},
}


def test_two_runs_of_one_configuration_give_equal_reports(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_config(json.loads(json.dumps(CONFIG)), tmp_path / name)
    first, second = ((tmp_path / name / "results.json").read_bytes() for name in ("a", "b"))
    assert first == second
    for bad, message in (
        ({"dataset": {}}, "not known"),
        ({"data": {"file": 1}}, "'data' in the configuration"),
        ({"data": {"name": "digits"}, "train": {"lrate": 1}}, "'lrate'"),
    ):
        with pytest.raises(ValueError, match=message):
            run_config(bad, tmp_path / "c")


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    (tmp_path / "c.json").write_text(json.dumps(CONFIG))
    run = str(tmp_path / "run")
    done = runner.invoke(app, ["train", str(tmp_path / "c.json"), "--out", run, "-q", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["settings"]["n"] == 40
    done = runner.invoke(
        app,
        [
            "eval",
            run,
            "--eps",
            "8/255",
            "--battery",
            "quick",
            "--n",
            "20",
            "-q",
            "--out",
            str(tmp_path / "r.json"),
            "--no-masking",
        ],
    )
    assert "worst case per sample" in done.stdout
    assert (tmp_path / "r.json").is_file()
    done = runner.invoke(app, ["curve", run, "--points", "2", "--n", "10", "-q", "--out", str(tmp_path / "c.png")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "c.png").stat().st_size > 1000
    done = runner.invoke(app, ["plot", run, "--n", "20", "--out", str(tmp_path / "p"), "--json"])
    assert [Path(p).is_file() for p in json.loads(done.stdout)["written"]] == [True, True]
    assert "spk-regularize 0.1.0" in runner.invoke(app, ["--version"]).stdout
    monkeypatch.setattr("sys.argv", ["spk-regularize", "eval", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    monkeypatch.setattr("sys.argv", ["spk-regularize", "eval", run, "--eps", "x"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


def test_own_errors_are_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["spk-regularize", "train", "--preset", "cifar"])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err
    assert told.startswith("spk-regularize: preset 'cifar' is not known")
    assert told.count("\n") == 1


def test_pictures(trained: SpikingClassifier, few: ImageSet) -> None:
    figure = potential_histograms(trained, few.x())
    assert len(figure.axes) == 2
    shaded = [patch for patch in figure.axes[0].patches if patch.get_alpha() == 0.2]
    assert shaded[0].get_x() == -1.0
    assert shaded[0].get_width() == 2.0
    ax = overlap_map(trained, few.x())
    assert ax.images[0].get_array().shape == (2, 4)
    report = evaluate_robustness(trained, few, [0.05, 0.1], battery="quick", masking=False)
    line = next(line for line in curves(report).lines if line.get_label().startswith("worst"))
    assert list(line.get_ydata()) == [report.clean_accuracy, *report.worst_case.values()]
    assert report.plot() is not None
