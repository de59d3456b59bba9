"""The same operations on torch tensors, on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from demm.operators._backend import Weights


def _torch() -> Any:
    try:
        return import_module("torch")
    except ImportError as error:
        raise ImportError('backend="torch" needs torch: pip install "demm[torch]"') from error


class TorchBackend:
    """Explicit ``Ahat_r`` as torch CSR tensors.

    Args:
        matrices: normalised adjacencies as scipy sparse, one per relation.
        device: a torch device, such as ``"cuda"``.
    """

    def __init__(self, matrices: Sequence[Any], device: str = "cpu") -> None:
        import warnings

        torch = _torch()
        self.device = torch.device(device)
        self.n_nodes = int(matrices[0].shape[0])
        self.n_relations = len(matrices)
        self.matrices = []
        for matrix in matrices:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*[Ss]parse CSR.*", category=UserWarning)
                self.matrices.append(
                    torch.sparse_csr_tensor(
                        torch.from_numpy(matrix.indptr.astype(np.int64)),
                        torch.from_numpy(matrix.indices.astype(np.int64)),
                        torch.from_numpy(matrix.data),
                        size=matrix.shape,
                        # once per fit, against reading past the end of a panel; saying neither yes nor no warns
                        check_invariants=True,
                    ).to(self.device)
                )

    def asarray(self, x: np.ndarray) -> Any:
        return _torch().from_numpy(np.ascontiguousarray(x)).to(self.device)

    def to_numpy(self, x: Any) -> np.ndarray:
        result: np.ndarray = x.cpu().numpy()
        return result

    def empty_like(self, x: Any) -> Any:
        return _torch().empty_like(x)

    def copy_to(self, x: Any, out: Any) -> None:
        out.copy_(x)

    def hop(
        self,
        weights: Weights,
        coef: float,
        x: Any,
        out: Any,
        *,
        keep: float = 0.0,
        plus: Any | None = None,
        plus_coef: float = 0.0,
    ) -> None:
        if keep == 0:
            out.zero_()
        else:
            out.mul_(keep)
        for weight, matrix in zip(weights, self.matrices, strict=True):
            if weight != 0:
                out.add_(matrix @ x, alpha=coef * float(weight))
        if plus is not None:
            out.add_(plus, alpha=plus_coef)

    def quadratic(self, relation: int, x: Any) -> float:
        product = self.matrices[relation] @ x
        return float((x.double() * product.double()).sum())

    def scale(self, coef: float, x: Any) -> None:
        x.mul_(coef)

    def axpy(self, coef: Any, x: Any, y: Any) -> None:
        if np.ndim(coef) == 0:
            y.add_(x, alpha=float(coef))
        else:
            y.add_(x * _torch().as_tensor(np.asarray(coef), dtype=x.dtype, device=self.device))

    def column_dots(self, x: Any, y: Any) -> np.ndarray:
        result: np.ndarray = (x.double() * y.double()).sum(dim=0).cpu().numpy()
        return result

    def normalise_rows(self, x: Any) -> np.ndarray:
        norms = x.double().norm(dim=1)
        x.div_(_torch().where(norms > 0, norms, 1.0)[:, None].to(x.dtype))
        result: np.ndarray = norms.cpu().numpy()
        return result
