"""Products of a constant sparse matrix with dense rows, differentiable in the rows.

PyTorch's own derivative of a CSR product transposes the matrix at every call, several times the cost of the product.
The matrices here never change, so their transposes are made once.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

#: What a sparse gradient of `SparseMeanOfTwo` may be of.
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


def csr_tensor(pointer: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A CSR tensor, without the notes that PyTorch prints about its sparse tensors on the first one made.

    int32 indices take a faster product than int64 ones on CPU (half the bytes), so they are taken where they fit.
    """
    if max(columns.numel(), *shape) < 2**31:
        pointer, columns = pointer.to(torch.int32), columns.to(torch.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(pointer, columns, values, size=shape)


class ConstantProduct(torch.autograd.Function):
    """``matrix @ rows``; the gradient of the rows is ``transposed @ grad``."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(transposed)
        return matrix @ rows

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        (transposed,) = ctx.saved_tensors
        return None, None, transposed @ grad.contiguous()


class MeanOfRows(torch.autograd.Function):
    """Means of the rows (n, m) of a table, each row named by a code; the gradient is ``transposed @ grad``."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, transposed: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(transposed)
        return F.embedding_bag(rows, table, mode="mean")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        (transposed,) = ctx.saved_tensors
        return None, None, transposed @ grad.contiguous()


class SparseMeanOfTwo(torch.autograd.Function):
    """Means of two rows each (n, 2) of a table on the CPU, with a sparse gradient that names every row as it comes.

    Its values are twice the upstream gradient. numpy asks the system for large pages, which PyTorch does not: fresh
    memory of this size is otherwise most of the step.
    """

    @staticmethod
    def can(table: Tensor) -> bool:
        return not torch.compiler.is_compiling() and table.device.type == "cpu" and table.dtype in _NUMPY

    @staticmethod
    def forward(ctx: Any, rows: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = table.shape
        return F.embedding_bag(rows, table, mode="mean")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (rows,) = ctx.saved_tensors
        values = torch.from_numpy(np.empty((2, *grad.shape), _NUMPY[grad.dtype]))
        torch.mul(grad, 0.5, out=values[0])
        values[1] = values[0]
        flat = values.view(-1, grad.shape[1])
        return None, torch.sparse_coo_tensor(rows.T.reshape(1, -1), flat, ctx.shape, check_invariants=False)
