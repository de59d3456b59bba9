"""Import a package in a bare environment: it says nothing and leaves heavy libraries for later.

``python tools/quick_import.py baco numba pandas`` imports ``baco`` and fails when ``numba`` or ``pandas``
came with it; without arguments it describes the environment as JSON. The standard library alone is used:
the environment holds nothing but the package.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import platform
import sys
import sysconfig


def problems(module: str, later: list[str]) -> list[str]:
    """What the import of ``module`` did that it should not, one line each."""
    before = set(sys.modules)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        importlib.import_module(module)
    loaded = set(sys.modules) - before
    found = [f"import {module} loads {name}; load it where it is used" for name in later if name in loaded]
    if said.getvalue():
        found.append(f"import {module} prints {said.getvalue()[:200]!r}")
    return found


def describe() -> dict[str, object]:
    """Where this Python keeps its packages, and what of the markers of a requirement depends on it."""
    full = platform.python_version()
    markers = {"python_full_version": full, "python_version": ".".join(full.split(".")[:2])}
    return {"site": sysconfig.get_path("purelib"), "markers": markers}


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps(describe()))
        sys.exit()
    lines = problems(sys.argv[1], sys.argv[2:])
    print("\n".join(lines) or f"import {sys.argv[1]}: quiet, and without {', '.join(sys.argv[2:])}")
    sys.exit(1 if lines else 0)
