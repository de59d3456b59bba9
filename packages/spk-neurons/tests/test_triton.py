"""The triton kernels without a GPU: interpreted, through the same harness as the others, and compiled to PTX."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = [str(HERE / name) for name in ("test_known_answers.py", "test_harness.py")]

pytest.importorskip("triton", reason="triton is not installed; the isolated session brings it")


def test_interpreted_kernels_pass_the_harness() -> None:
    """In a process of its own: the interpreter is chosen when triton is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "triton", *FILES],
        env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=HERE.parents[2], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 120
    assert "skipped" not in done.stdout


FLAGS = ("STRICT", "NOISY", "GIVEN", "KEEP_S", "KEEP_H", "KEEP_V", "BITS", "DETACH", "GH", "GV", "SHIFT", "STATS",
         "DECAY", "GAIN", "BIAS", "THETA", "LEVEL", "VD", "VG", "VB", "VT", "VL")  # fmt: skip
INTS = ("steps", "n", "end", "quad_end", "channels", "inner", "sd", "sg", "sb", "st", "sl")


@pytest.mark.parametrize(("reset", "kind", "flag", "small"), [(1, 3, True, {}), (0, 8, False, {"steps": 1, "n": 1})])
@pytest.mark.parametrize("kernel", ["_forward", "_backward", "_backward_bits"])
def test_kernels_compile_for_a_gpu_without_fused_multiply_add(
    kernel: str, reset: int, kind: int, flag: bool, small: dict[str, int]
) -> None:
    """``small``: sizes of one are compile-time constants to triton, another path through its compiler."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("the interpreter replaces the compiler")
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from spk_neurons._kernels import gpu

    function = getattr(gpu, kernel)
    fixed = {
        "RESET": reset, "KIND": kind, "A": 0.7, "G": 0.15, "WIDTH": 0.7, "BLOCK_": gpu.BLOCK,
        **dict.fromkeys(FLAGS, flag), **small,
    }  # fmt: skip
    fixed = {k: v for k, v in fixed.items() if k in function.arg_names}
    types = {
        n: "constexpr" if n in fixed else "i32" if n in INTS else "*u8" if n == "code" else "*fp32"
        for n in function.arg_names
    }
    source = ASTSource(function, types, constexprs={(function.arg_names.index(k),): v for k, v in fixed.items()})
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False}).asm["ptx"]
    assert "fma" not in ptx
    assert f".visible .entry {kernel}" in ptx
