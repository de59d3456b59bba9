"""A drop-in for ``torch.nn.Embedding`` whose rows are shared as a codebook says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._sparse import ConstantProduct, MeanOfRows, SparseMeanOfTwo, csr_tensor

if TYPE_CHECKING:
    from baco.codebook import Codebook

Unseen = Literal["raise", "default", "modulo"]


class CompressedEmbedding(nn.Module):
    """Vectors of ``num_embeddings`` ids, each a weighted sum of a few shared rows.

    ``vector(x) = sum_k weights[x, k] * weight[codes[x, k]]`` over the codes other than -1. Takes the place of
    ``nn.Embedding(n, d)``: same call, same result shape, one parameter ``weight``, here of (num_rows, d).

    Args:
        codes: integers (n, m) or (n,), rows of each id; -1 marks an unused place, the first is always used.
        embedding_dim: width d of a row.
        code_weights: (n, m), how much each row counts; None: the mean of the rows named.
        num_rows: rows of the table; None: one more than the largest code.
        sparse: give `weight` a sparse gradient, for ``torch.optim.SparseAdam`` and large tables.
        unseen: what an id outside [0, n) gets. "raise": an IndexError (on an accelerator or under ``torch.compile``
            what indexing out of range raises there); "default": the row ``default_code``; "modulo": the row
            ``id % num_rows``, so that newcomers at least differ from each other.
        default_code: row of unseen ids under "default"; None adds a row that no other id uses.
        init: called with the empty table to fill it; None: standard normal numbers, as ``nn.Embedding`` has.
        dtype, device: of the table.

    Shapes:
        ids: integers of any shape; result: (\\*ids.shape, embedding_dim).

    ``state_dict`` holds the table, the codes, and code weights only where they are not the plain mean. With two
    codes an id the gradient that reaches a row is half that of each of its members.

    Raises:
        ValueError, TypeError: codes or weights that cannot be; the message says what is expected.
        IndexError: an unseen id under ``unseen="raise"``.
    """

    codes: Tensor
    code_weights: Tensor | None

    def __init__(
        self,
        codes: Any,
        embedding_dim: int,
        *,
        code_weights: Any = None,
        num_rows: int | None = None,
        sparse: bool = False,
        unseen: Unseen = "raise",
        default_code: int | None = None,
        init: Callable[[Tensor], Any] | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        table = _checked_codes(codes)
        least = int(table.max()) + 1
        rows = least if num_rows is None else int(num_rows)
        if rows < least:
            raise ValueError(f"num_rows={num_rows!r}, but the codes name row {least - 1}; give at least {least}")
        if isinstance(embedding_dim, bool) or int(embedding_dim) != embedding_dim or embedding_dim < 1:
            raise ValueError(f"embedding_dim must be an integer >= 1, got {embedding_dim!r}")
        if unseen not in ("raise", "default", "modulo"):
            raise ValueError(f'unseen must be "raise", "default" or "modulo", got {unseen!r}')
        if default_code is not None and unseen != "default":
            raise ValueError(f'default_code={default_code!r} goes with unseen="default", got unseen={unseen!r}')
        if unseen == "default" and default_code is None:
            default_code, rows = rows, rows + 1
        if default_code is not None and not 0 <= default_code < rows:
            raise ValueError(f"default_code={default_code!r} is no row of [0, {rows})")
        self.embedding_dim, self.num_rows = int(embedding_dim), rows
        self.sparse, self.unseen, self.default_code = bool(sparse), unseen, default_code
        self.weight = nn.Parameter(torch.empty(rows, self.embedding_dim, dtype=dtype, device=device))
        self.register_buffer("codes", table.to(device=device))
        given = None if code_weights is None else _checked_weights(code_weights, table)
        self.register_buffer("code_weights", None if given is None else given.to(self.weight))
        # what `full` computes with, made when first asked for; no part of the state
        self._matrices: tuple[Tensor | None, Tensor, Tensor] | None = None
        with torch.no_grad():
            (nn.init.normal_ if init is None else init)(self.weight)

    @property
    def num_embeddings(self) -> int:
        """Ids that have codes."""
        return int(self.codes.shape[0])

    @classmethod
    def from_codebook(
        cls, codebook: Codebook, side: Literal["user", "item"], embedding_dim: int, **options: Any
    ) -> CompressedEmbedding:
        """Table of one side of a codebook; ids are row numbers of its codes. ``options`` as in the constructor."""
        codes, weights, rows = _side(codebook, side)
        used = codes >= 0
        mean = used / used.sum(1, keepdims=True)
        plain = bool(np.allclose(weights, mean, rtol=0, atol=1e-7))
        return cls(codes, embedding_dim, code_weights=None if plain else weights, num_rows=rows, **options)

    @classmethod
    def from_pretrained(
        cls,
        table: Any,
        codebook: Codebook,
        side: Literal["user", "item"],
        *,
        method: Literal["least-squares", "mean"] = "least-squares",
        id_weights: Any = None,
        freeze: bool = False,
        **options: Any,
    ) -> CompressedEmbedding:
        """Compress a table that was trained already.

        Args:
            table: (n, d), the trained vectors, in the order of the codebook's ids.
            method: "least-squares": the rows whose mixtures come closest to the table, in the sum of squared
                distances (LSMR, a column at a time); "mean": each row the weighted mean of its members' vectors,
                the same where every id has one code.
            id_weights: (n,), how much each id counts, such as its degree; None: all alike.
            freeze: keep the rows from being trained.
            options: as in the constructor.
        Raises:
            ValueError: another number of ids, NaN or infinity, or weights that are negative or all zero.
        """
        codes, _, rows = _side(codebook, side)
        full = np.asarray(table.detach().cpu() if isinstance(table, Tensor) else table, dtype=np.float64)
        if full.ndim != 2 or full.shape[0] != codes.shape[0]:
            raise ValueError(f"the table must have a row for each of the {codes.shape[0]} {side}s, got {full.shape}")
        if not np.isfinite(full).all():
            raise ValueError("the table holds NaN or infinity; train it again, or replace those rows")
        if method not in ("least-squares", "mean"):
            raise ValueError(f'method must be "least-squares" or "mean", got {method!r}')
        counts = np.ones(codes.shape[0]) if id_weights is None else np.asarray(id_weights, dtype=np.float64)
        if counts.shape != (codes.shape[0],) or not np.isfinite(counts).all() or counts.min() < 0 or not counts.any():
            raise ValueError(f"id_weights must be {codes.shape[0]} finite numbers >= 0, not all zero")
        start = _member_means(codebook.to_csr(side), full, counts)
        fitted = start if method == "mean" else _least_squares(codebook.to_csr(side), full, counts, start)
        options.setdefault("dtype", table.dtype if isinstance(table, Tensor) else torch.float32)
        made = cls.from_codebook(codebook, side, full.shape[1], **options)
        with torch.no_grad():
            made.weight[:rows] = torch.from_numpy(fitted).to(made.weight)
        made.weight.requires_grad_(not freeze)
        return made

    def forward(self, ids: Tensor) -> Tensor:
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise TypeError(f"ids must be integers, got {ids.dtype}")
        flat = ids.reshape(-1)
        if self.unseen == "raise":
            self._refuse_unseen(flat)
            rows, weights = self._rows(flat)
        else:
            rows, weights = self._rows_of_any(flat)
        return self._mix(rows, weights).reshape(*ids.shape, self.embedding_dim)

    def full(self) -> Tensor:
        """Vectors of all ids in order, (num_embeddings, embedding_dim); gradients by one sparse product.

        What graph models propagate. Under ``torch.compile``, and with ``sparse=True``, by lookup.
        """
        if self.sparse or torch.compiler.is_compiling() or self.weight.dtype not in (torch.float32, torch.float64):
            return self._mix(*self._rows(torch.arange(self.num_embeddings, device=self.codes.device)))
        means, matrix, transposed = self._matrix()
        product: Tensor
        if means is not None:  # a mean reads faster row by row; its gradient is still the product
            product = MeanOfRows.apply(means, transposed, self.weight)  # type: ignore[no-untyped-call]
        else:
            product = ConstantProduct.apply(matrix, transposed, self.weight)  # type: ignore[no-untyped-call]
        return product

    def extra_repr(self) -> str:
        places = self.codes.shape[1]
        told = f"{self.num_embeddings} ids -> {self.num_rows} rows, {self.embedding_dim}, codes={places}"
        told += ", sparse=True" if self.sparse else ""
        return told + (f", unseen={self.unseen!r}" if self.unseen != "raise" else "")

    def _refuse_unseen(self, flat: Tensor) -> None:
        # looking would stop a compiled graph, and wait for an accelerator; indexing raises there by itself
        if torch.compiler.is_compiling() or flat.device.type != "cpu" or flat.numel() == 0:
            return
        low, high = (int(one) for one in torch.aminmax(flat))
        if low < 0 or high >= self.num_embeddings:
            raise IndexError(
                f"id {low if low < 0 else high} has no codes: ids lie in [0, {self.num_embeddings}); give newcomers "
                'codes with BACO.assign, or choose unseen="default" or "modulo"'
            )

    def _rows(self, flat: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows and weights (k, m) of known ids; None where one code each, or a plain mean of two, needs no weights.

        An unused second place repeats the first code: the mean of a row with itself is the row.
        """
        codes = self.codes.index_select(0, flat)
        places = codes.shape[1]
        if self.code_weights is not None:
            return codes.clamp(min=0), self.code_weights.index_select(0, flat)
        if places == 1:
            return codes, None
        if places == 2:
            return torch.where(codes < 0, codes[:, :1], codes), None
        used = (codes >= 0).to(self.weight.dtype)
        return codes.clamp(min=0), used / used.sum(1, keepdim=True)

    def _rows_of_any(self, flat: Tensor) -> tuple[Tensor, Tensor | None]:
        unseen = (flat < 0) | (flat >= self.num_embeddings)
        rows, weights = self._rows(torch.where(unseen, 0, flat))
        instead: Tensor | int = (flat % self.num_rows)[:, None] if self.default_code is None else self.default_code
        # every place names the same row, so a mean gives just that row
        rows = torch.where(unseen[:, None], instead, rows)
        if weights is not None:
            alike = torch.full_like(weights[:1], 1 / weights.shape[1])
            weights = torch.where(unseen[:, None], alike, weights)
        return rows, weights

    def _mix(self, rows: Tensor, weights: Tensor | None) -> Tensor:
        if rows.shape[1] == 1 and weights is None:
            return F.embedding(rows[:, 0], self.weight, sparse=self.sparse)
        if self.sparse and weights is not None:
            # embedding_bag has no sparse gradient for weighted sums
            return (F.embedding(rows, self.weight, sparse=True) * weights[..., None]).sum(1)
        mode = "mean" if weights is None else "sum"
        # sparse gradients need 64-bit indices
        rows = rows.long() if self.sparse else rows
        if self.sparse and rows.shape[1] == 2 and SparseMeanOfTwo.can(self.weight):
            mean: Tensor = SparseMeanOfTwo.apply(rows, self.weight)  # type: ignore[no-untyped-call]
            return mean
        return F.embedding_bag(rows, self.weight, mode=mode, per_sample_weights=weights, sparse=self.sparse)

    def _matrix(self) -> tuple[Tensor | None, Tensor, Tensor]:
        """Rows of each id where its vector is their mean; the matrix of all ids, and its transpose."""
        kept = self._matrices
        if kept is not None and (kept[1].device, kept[1].dtype) == (self.weight.device, self.weight.dtype):
            return kept
        import scipy.sparse as sp

        rows, weights = self._rows(torch.arange(self.num_embeddings, device=self.codes.device))
        values = torch.full(rows.shape, 1 / rows.shape[1]) if weights is None else weights.cpu()
        pointer = np.arange(0, rows.numel() + 1, rows.shape[1])
        shape = (self.num_embeddings, self.num_rows)
        flat = values.to(self.weight.dtype).numpy().ravel()
        # a copy: what follows sorts in place, and the rows are kept
        matrix = sp.csr_matrix((flat, rows.cpu().numpy().ravel(), pointer), shape=shape, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        means = rows if weights is None else None
        self._matrices = made = means, self._on_device(matrix), self._on_device(matrix.T.tocsr())
        return made

    def _on_device(self, matrix: Any) -> Tensor:
        pointer, columns, values = (
            torch.from_numpy(part).to(self.weight.device) for part in (matrix.indptr, matrix.indices, matrix.data)
        )
        return csr_tensor(pointer, columns, values, matrix.shape)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("weight", "codes"):
            given, own = state_dict.get(prefix + name), getattr(self, name)
            if given is not None and given.shape != own.shape:
                raise ValueError(
                    f"{prefix}{name} in the state has shape {tuple(given.shape)}, this module {tuple(own.shape)}: the "
                    "state is of another codebook or width; make the module from the codebook it was saved with"
                )
        codes = state_dict.get(prefix + "codes")
        if codes is not None and int(codes.max()) >= self.num_rows:
            raise ValueError(f"{prefix}codes in the state name row {int(codes.max())} of {self.num_rows}")
        self._matrices = None
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_matrices": None}


def _side(codebook: Codebook, side: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], int]:
    if not hasattr(codebook, "user_codes"):
        raise TypeError(f"codebook must be a baco Codebook, got {type(codebook).__name__}")
    if side == "user":
        return codebook.user_codes, codebook.user_weights, codebook.n_user_rows
    if side == "item":
        return codebook.item_codes, codebook.item_weights, codebook.n_item_rows
    raise ValueError(f"side must be 'user' or 'item', got {side!r}")


def _checked_codes(codes: Any) -> Tensor:
    table = torch.as_tensor(np.asarray(codes) if not isinstance(codes, Tensor) else codes)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or 0 in table.shape or table.is_floating_point() or table.dtype == torch.bool:
        raise ValueError(f"codes must be integers of shape (n, m), got {table.dtype} of shape {tuple(table.shape)}")
    if int(table.min()) < -1 or int(table[:, 0].min()) < 0:
        raise ValueError(f"codes must be rows >= 0, -1 only beyond the first place; the least is {int(table.min())}")
    return table.to(torch.int32).contiguous()


def _checked_weights(weights: Any, codes: Tensor) -> Tensor:
    given = torch.as_tensor(np.asarray(weights) if not isinstance(weights, Tensor) else weights)
    if given.shape != codes.shape or not given.is_floating_point():
        raise ValueError(f"code_weights must be floats shaped like the codes {tuple(codes.shape)}, got {given.shape}")
    if not bool(torch.isfinite(given).all()):
        raise ValueError("code_weights hold NaN or infinity; leave them out for the mean of the rows")
    return torch.where(codes < 0, 0.0, given)


def _member_means(matrix: Any, full: Any, counts: Any) -> Any:
    shares = matrix.multiply(counts[:, None]).tocsr()
    total = np.asarray(shares.sum(0)).ravel()
    return (shares.T @ full) / np.where(total > 0, total, 1.0)[:, None]


def _least_squares(matrix: Any, full: Any, counts: Any, start: Any) -> Any:
    from scipy.sparse.linalg import lsmr

    root = np.sqrt(counts)
    scaled = matrix.multiply(root[:, None]).tocsr().astype(np.float64)
    # exact arithmetic would end after min(scaled.shape) steps, its default; rounding asks for more
    options = {"atol": 1e-12, "btol": 1e-12, "conlim": 0.0, "maxiter": max(1000, 4 * min(scaled.shape))}
    columns = [lsmr(scaled, root * full[:, one], x0=start[:, one], **options)[0] for one in range(full.shape[1])]
    return np.column_stack(columns)
