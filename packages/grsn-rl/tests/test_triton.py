"""The kernels for a GPU, under triton's interpreter and through its compiler."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from grsn_rl import GRSN

FILE = str(Path(__file__).parent / "test_cells.py")


def test_a_backend_that_cannot_run_is_told() -> None:
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("the interpreter can run it")
    with pytest.raises(ValueError, match=r"backend='triton' was asked for, but triton .*; use backend='auto'"):
        GRSN(3, 4, backend="triton")(torch.zeros(2, 1, 3))


def test_interpreted_kernels_pass_the_tests_of_the_cells() -> None:
    """In a process of its own: the interpreter is chosen when triton is imported."""
    pytest.importorskip("triton", reason="triton is not installed; the isolated session brings it")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", "-k", "triton or backends_agree", FILE],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 13
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("kernel", ["_forward", "_backward"])
@pytest.mark.parametrize(
    ("flag", "small"), [(True, {}), (False, {"steps": 1, "batch": 1, "hidden": 1, "gate": 1, "move": 1, "line": 1})]
)
@pytest.mark.parametrize(("gated", "driven"), [(True, False), (True, True), (False, True)])
def test_kernels_compile_for_a_gpu(kernel: str, flag: bool, small: dict[str, int], gated: bool, driven: bool) -> None:
    """``small``: sizes of one are compile-time constants to triton, another path through its compiler."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("the interpreter replaces the compiler")
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from grsn_rl.cells import _kernels

    function = getattr(_kernels, kernel)
    flags = ("HARD", "KEEP", "SAVE", "DETACH")
    fixed = {
        "GATED": gated,
        "DRIVEN": driven,
        "KIND": 3,
        "ALPHA": 2.0,
        "BLOCK": 32,
        **dict.fromkeys(flags, flag),
        **small,
    }
    fixed = {k: v for k, v in fixed.items() if k in function.arg_names}
    plain = dict.fromkeys(("steps", "batch", "hidden", "gate", "move", "line", "end", "end_z"), "i32")
    types = {
        n: "constexpr" if n in fixed else plain.get(n, "fp32" if n == "theta" else "*fp32") for n in function.arg_names
    }
    source = ASTSource(fn=function, signature=types, constexprs=fixed)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False})
    assert "fma.rn.f32" not in made.asm["ptx"]
