"""Attack a model with a battery, image by image, and write down what survived; stop and resume at any time."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spk_regularize.adapters.base import find_layers
from spk_regularize.attacks import GradientAttack
from spk_regularize.attacks.base import batches, check_images, check_labels, check_logits, prepared
from spk_regularize.classifier import SpikingClassifier, check_stateless, is_stochastic
from spk_regularize.data.images import ImageSet
from spk_regularize.robustness.battery import AttackSpec, make_battery
from spk_regularize.robustness.layers import summarise_layers
from spk_regularize.robustness.masking import MaskingVerdict, masking_verdict
from spk_regularize.robustness.report import RobustnessReport, _bits, _text

__all__ = ["evaluate_robustness"]

Data = ImageSet | tuple[Tensor, Tensor] | Iterable[tuple[Tensor, Tensor]]


def _images(data: Data, n: int | None, seed: int) -> tuple[Tensor, Tensor]:
    if isinstance(data, ImageSet):
        x, y = data.x(), data.labels
    elif isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Tensor):
        x, y = data
    else:
        parts = [(a, b) for a, b in data]
        if not parts:
            raise ValueError("the data hold no batch; there is nothing to attack")
        x, y = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    check_images(x)
    check_labels(y, len(x))
    if not len(x):
        raise ValueError("the data hold no image; there is nothing to attack")
    if n is not None and n < len(x):
        if n < 1:
            raise ValueError(f"n={n} given; expected at least one image")
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n].sort().values
        x, y = x[rows], y[rows]
    return x, y


def _sizes(eps: float | Sequence[float]) -> list[float]:
    given = [float(e) for e in ([eps] if isinstance(eps, (int, float)) else eps)]
    if any(not 0 <= e <= 1 for e in given):
        raise ValueError(f"eps={given} given; expected sizes in [0, 1], such as 8/255")
    sizes = sorted({e for e in given if e > 0})
    if not sizes:
        raise ValueError(f"eps={given} given; expected at least one size > 0 (0 is the clean accuracy)")
    return sizes


def _fingerprint(model: nn.Module, x: Tensor, y: Tensor, sources: Sequence[nn.Module]) -> str:
    digest = hashlib.sha256()
    for each in (model, *sources):
        for name, value in sorted(each.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        # surrogates and other numbers that no state_dict holds
        digest.update(repr(each).encode())
    for tensor in (x, y):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def evaluate_robustness(
    model: nn.Module,
    data: Data,
    eps: float | Sequence[float] = (2 / 255, 4 / 255, 8 / 255),
    *,
    battery: str | Sequence[AttackSpec] = "standard",
    sources: Sequence[nn.Module] = (),
    n: int | None = 1000,
    eot: int | None = None,
    masking: bool = True,
    seed: int = 0,
    batch_size: int = 512,
    folder: str | Path | None = None,
    progress: bool = False,
) -> RobustnessReport:
    """Measure the robust accuracy of a classifier.

    Args:
        model: images in [0, 1] to logits; wrap networks in :class:`SpikingClassifier`. data: an :class:`ImageSet`, a
            pair (x, y), or batches of pairs. eps: l_inf sizes. battery: "quick", "standard", "full", or a list.
        sources: independently trained models for the transfer attack. n: images, drawn at random; None: all.
        eot: draws per gradient; None: 1, or 10 for a stochastic model. masking: also give the verdict, at the largest
            eps, on at most 200 images. seed: of everything random. folder: finished cells are kept there, and an
            interrupted evaluation goes on from them to the same report. batch_size: images at once. progress: a bar.
    Returns:
        :class:`RobustnessReport`. Its worst case counts; a single attack's accuracy is an upper bound that flatters.
    Raises:
        ValueError, TypeError: bad images, labels, sizes, logits; a folder of another evaluation.
        StateLeakError: two equal calls differ.
    """
    start = time.perf_counter()
    x, y = _images(data, n, seed)
    sizes = _sizes(eps)
    with prepared(model, seed), torch.no_grad():
        check_stateless(model, x[:8])
        logits = torch.cat([model(x[rows]) for rows in batches(len(x), batch_size)])
    check_logits(logits, len(x))
    classes = logits.shape[1]
    check_labels(y, len(x), classes)
    clean = logits.argmax(1) == y
    specs = make_battery(battery, sources=bool(sources), classes=classes)
    draws = (10 if is_stochastic(model) else 1) if eot is None else eot
    settings = {
        "battery": battery if isinstance(battery, str) else "own", "attacks": [spec.to_dict() for spec in specs],
        "eps": sizes, "n": len(x), "seed": seed, "eot": draws, "sources": len(sources), "batch_size": batch_size,
        "masking": masking, "fingerprint": _fingerprint(model, x, y, sources), **_about(model, x),
    }  # fmt: skip
    # as JSON has it, so that a report read back is equal
    settings = json.loads(json.dumps(settings))
    cells = _Cells(folder, settings)
    queue = [(spec, size) for size in sizes for spec in specs]
    right: dict[tuple[str, float], Tensor] = {}
    for spec, size in _bar(queue, progress):
        key = f"{spec.name}|{size!r}"
        stored = cells.get(key)
        if stored is None:
            stored = _text(_cell(model, spec, size, x, y, clean, classes, sources, draws, seed, batch_size))
            cells.put(key, stored)
        right[spec.name, size] = _bits(stored)
    verdict = None
    if masking and bool(clean.any()):
        told = cells.get("masking")
        if told is None:
            few = slice(0, 200)
            verdict = (
                masking_verdict(
                    model, x[few], y[few], sizes[-1], sources=sources, eot=draws, seed=seed, batch_size=batch_size
                )
                if bool(clean[few].any())
                else None
            )
            cells.put("masking", None if verdict is None else verdict.to_dict())
        else:
            verdict = MaskingVerdict.from_dict(told)
    layers = [row.to_dict() for row in _layers(model, x, seed)]
    names = [spec.name for spec in specs]
    seconds = time.perf_counter() - start
    return RobustnessReport(settings, names, sizes, clean.cpu(), right, verdict, layers, seconds)


def _cell(
    model: nn.Module, spec: AttackSpec, size: float, x: Tensor, y: Tensor, clean: Tensor, classes: int,
    sources: Sequence[nn.Module], eot: int, seed: int, batch_size: int,
) -> Tensor:  # fmt: skip
    """One attack at one size: which images survive. Wrong ones are not attacked: they are counted wrong anyway."""
    rows = clean.nonzero()[:, 0]
    survived = torch.zeros(len(x), dtype=torch.bool)
    if not len(rows):
        return survived
    attack = spec.make(model, size, sources=sources, eot=eot, seed=seed, batch_size=batch_size)
    if spec.target is not None and isinstance(attack, GradientAttack):
        attack = attack.targeted((y[rows] + spec.target) % classes)
    adv = attack(x[rows], y[rows])
    with prepared(model, seed), torch.no_grad():
        answers = torch.cat([model(adv[part]).argmax(1) for part in batches(len(adv), batch_size)])
    survived[rows.cpu()] = (answers == y[rows]).cpu()
    return survived


def _about(model: nn.Module, x: Tensor) -> dict[str, Any]:
    from spk_neurons import __version__ as core
    from spk_regularize import __version__ as own

    about: dict[str, Any] = {
        "versions": {
            "spk-regularize": own, "spk-neurons": core, "torch": torch.__version__, "python": platform.python_version()
        },
        "device": str(x.device), "shape": list(x.shape[1:]), "model": getattr(model, "config", None),
    }  # fmt: skip
    if isinstance(model, SpikingClassifier) and model.encoder is not None:
        about |= {"T": model.T, "encoder": type(model.encoder).__name__}
    try:
        about["surrogates"] = sorted({repr(getattr(la.module, "surrogate", "?")) for la in find_layers(model)})
    except ValueError:
        about["surrogates"] = []
    return about


def _layers(model: nn.Module, x: Tensor, seed: int) -> list[Any]:
    try:
        return summarise_layers(model, x, seed=seed)
    except ValueError:
        return []


class _Cells:
    """Finished cells of one evaluation, one small file each."""

    def __init__(self, folder: str | Path | None, settings: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        (self.folder / "cells").mkdir(parents=True, exist_ok=True)
        path = self.folder / "evaluation.json"
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        if path.is_file() and path.read_text() != text:
            raise ValueError(f"{self.folder} holds another evaluation (model, data or settings differ); give another")
        self._write(path, text)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(text)
        temporary.replace(path)

    def _path(self, key: str) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / "cells" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"

    def get(self, key: str) -> Any:
        """What was found before, or None."""
        path = self._path(key)
        return json.loads(path.read_text())["value"] if path is not None and path.is_file() else None

    def put(self, key: str, value: Any) -> None:
        """Keep a finished cell."""
        path = self._path(key)
        if path is not None:
            self._write(path, json.dumps({"key": key, "value": value}) + "\n")


def _bar(queue: list[tuple[AttackSpec, float]], progress: bool) -> Iterable[tuple[AttackSpec, float]]:
    if not progress:
        return queue
    from tqdm import tqdm

    bar: Iterable[tuple[AttackSpec, float]] = tqdm(queue, desc="attacks", unit="cell", disable=None)
    return bar
