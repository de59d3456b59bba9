"""What the jobs find around them: where wheels come from, real data, other Pythons. Decided once, as data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def prepare(environment: MutableMapping[str, str], root: Path) -> None:
    """Complete the environment that every session inherits; what is set already stays.

    ``UV_FIND_LINKS``, ``UV_DEFAULT_INDEX``, ``SSL_CERT_FILE``
        uv reads none of pip's settings, so those of pip are passed on.
    ``UV_CONSTRAINT``, ``PIP_CONSTRAINT``
        the pinned torch of ``tools/constraints.txt``, for every installation of every job.
    ``UV_TORCH_BACKEND``
        ``cpu`` where no folder of wheels offers torch: PyPI's build for Linux is the one for CUDA.
    ``SPK_DATA``
        ``../shared/data`` where that exists.
    ``NUMBA_CACHE_DIR``
        one folder for all sessions, so that a kernel is compiled once.
    ``UV_PYTHON_DOWNLOADS``
        ``never``: a job uses the Pythons that are here.
    ``PYTHONDONTWRITEBYTECODE``
        taken out: dozens of test processes import torch, and each would compile it anew.
    """
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    links = environment.get("PIP_FIND_LINKS") or _pip_setting("find-links")
    if links:
        environment.setdefault("UV_FIND_LINKS", ",".join(links.split()))
    if environment.get("PIP_INDEX_URL"):
        environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    if environment.get("PIP_CERT"):
        environment.setdefault("SSL_CERT_FILE", environment["PIP_CERT"])
    constraints = root / "tools" / "constraints.txt"
    environment.setdefault("UV_CONSTRAINT", str(constraints))
    environment.setdefault("PIP_CONSTRAINT", str(constraints))
    if not offers_torch(environment.get("UV_FIND_LINKS", "")):
        environment.setdefault("UV_TORCH_BACKEND", "cpu")
    data = root.parent / "shared" / "data"
    if data.is_dir():
        environment.setdefault("SPK_DATA", str(data))
    environment.setdefault("NUMBA_CACHE_DIR", str(root / ".numba_cache"))
    environment.setdefault("UV_PYTHON_DOWNLOADS", "never")


def offers_torch(links: str) -> bool:
    """Whether one of the comma-separated folders holds a wheel of torch; an address is taken to."""
    places = [place for place in links.split(",") if place]
    return any("://" in place or any(Path(place).glob("torch-*.whl")) for place in places)


def _pip_setting(key: str) -> str:
    """A setting from pip's own configuration file; empty where there is none."""
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{key}"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def other_pythons(environment: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Pythons found here beside the running one: on the path, or among those that pyenv keeps."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    kept = Path(environment.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = {}
    for version in PYTHONS:
        places = [shutil.which(f"python{version}", path=environment.get("PATH"))]
        places += map(str, sorted(kept.glob(f"{version}.*/bin/python{version}"), reverse=True))
        working = [Path(place) for place in places if place and _runs(place)]
        if version != running and working:
            found[version] = working[0]
    return found


def _runs(python: str) -> bool:
    """Whether it is there in earnest: pyenv puts a name on the path for versions that are switched off."""
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def uv() -> str | None:
    """The uv that the job runs with, or the one on the path."""
    return os.environ.get("UV") or shutil.which("uv")
