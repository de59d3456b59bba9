"""Trained networks on disk: safetensors beside JSON, nothing pickled."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from slr_cma._files import atomic_write
from slr_cma.models.net import CMANet, config_from

__all__ = ["load_model", "save_model"]

SCHEMA = 1


def save_model(
    net: CMANet,
    path: Path | str,
    *,
    classes: list[str] | None = None,
    binning: dict[str, Any] | None = None,
) -> Path:
    """Write ``path`` (.safetensors) and, beside it, ``path`` with .json: configuration, classes, binning, versions.

    Args:
        net: as trained. classes: names by index. binning: how its inputs were made (bins, crop, down ...), compared
            when loading.
    """
    from safetensors.torch import save

    path = Path(path).with_suffix(".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    described = {
        "schema": SCHEMA,
        "package": {"slr-cma": version("slr-cma"), "spk-neurons": version("spk-neurons")},
        "config": net.to_dict(),
        "classes": classes,
        "binning": binning,
    }
    with atomic_write(path, "wb") as file:
        file.write(save({name: x.detach().cpu().contiguous() for name, x in net.state_dict().items()}))
    with atomic_write(path.with_suffix(".json")) as file:
        json.dump(described, file, indent=1)
    return path


def load_model(path: Path | str, *, binning: dict[str, Any] | None = None) -> tuple[CMANet, dict[str, Any]]:
    """Read a network saved by :func:`save_model`, in eval mode, and what was written beside it.

    Args:
        path: of the .safetensors file. binning: how the inputs at hand are made; compared with what the network was
            trained on.
    Raises:
        ValueError: another schema, a file that is not a network of ours, or inputs binned in another way.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path).with_suffix(".safetensors")
    beside = path.with_suffix(".json")
    for each in (path, beside):
        if not each.is_file():
            raise ValueError(f"{each} is missing; a saved model is {path.name} with {beside.name} beside it")
    try:
        described: dict[str, Any] = dict(json.loads(beside.read_text(encoding="utf-8")))
        weights = load(path.read_bytes())
    except (ValueError, TypeError, SafetensorError) as error:
        raise ValueError(f"{path} is no model written by save_model: {error}") from None
    if described.get("schema") != SCHEMA:
        raise ValueError(f"{beside} has schema {described.get('schema')}, this version reads {SCHEMA}")
    trained = described.get("binning")
    if binning is not None and trained is not None:
        different = sorted(key for key in {*binning, *trained} if binning.get(key) != trained.get(key))
        if different:
            told = ", ".join(f"{key}: {trained.get(key)!r} then, {binning.get(key)!r} now" for key in different)
            raise ValueError(f"{path.name} was trained on inputs binned in another way ({told}); bin them as then")
    try:
        net = CMANet(config_from(described["config"]))
        net.load_state_dict(weights)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} does not fit its configuration: {error}") from None
    return net.eval(), described
