"""The result of compression: which codebook rows make up each id's vector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._codes import Anchors, Assigned
from ._files import atomic_write
from ._growth import assign
from ._ids import IdIndex, check_ids

if TYPE_CHECKING:
    import scipy.sparse

    from .torch import CompressedEmbedding

Array = np.ndarray[Any, Any]
SCHEMA = 1


class Codebook:
    """Codes of every user and item into two small tables of embedding rows.

    The vector of an id is the weighted sum of the codebook rows its codes name: ``sum_k weights[k] *
    table[codes[k]]`` over its codes other than -1. Users and items have a table each.

    Args:
        user_codes: rows of each user, int32 (n_users, m_users); -1 marks an unused place, the first is always used.
        item_codes: rows of each item, int32 (n_items, m_items).
        n_user_rows, n_item_rows: sizes of the two tables.
        user_weights, item_weights: float32, shaped like the codes; default: the mean of the rows named.
        user_ids, item_ids: raw ids, one per row of the codes; None where ids are the row numbers.
        meta: how it was made; anything JSON can hold.
        anchors: what `assign` scores new ids with; codebooks of `BACO` have it.
    """

    def __init__(
        self,
        user_codes: Array,
        item_codes: Array,
        n_user_rows: int,
        n_item_rows: int,
        *,
        user_weights: Array | None = None,
        item_weights: Array | None = None,
        user_ids: Array | None = None,
        item_ids: Array | None = None,
        meta: dict[str, Any] | None = None,
        anchors: Anchors | None = None,
    ) -> None:
        self.user_codes, self.user_weights = _checked("user", user_codes, user_weights, n_user_rows)
        self.item_codes, self.item_weights = _checked("item", item_codes, item_weights, n_item_rows)
        self.n_user_rows, self.n_item_rows = int(n_user_rows), int(n_item_rows)
        self.user_ids = check_ids(user_ids, self.n_users, "user")
        self.item_ids = check_ids(item_ids, self.n_items, "item")
        self.meta = dict(meta or {})
        self.anchors = anchors
        self._indices: dict[str, IdIndex] = {}

    @property
    def n_users(self) -> int:
        return int(self.user_codes.shape[0])

    @property
    def n_items(self) -> int:
        return int(self.item_codes.shape[0])

    @property
    def n_rows(self) -> int:
        """Codebook rows of both sides."""
        return self.n_user_rows + self.n_item_rows

    @property
    def ratio(self) -> float:
        """Codebook rows over ids."""
        return self.n_rows / (self.n_users + self.n_items)

    def parameters(self, embedding_dim: int = 64) -> int:
        """Parameters at ``embedding_dim``: rows times the width, and one for each secondary code place.

        The first code takes the place of the id-to-row index that a full table has too, so it is not counted;
        this is the accounting of the BACO authors' software.
        """
        extra = self.n_users * (self.user_codes.shape[1] - 1) + self.n_items * (self.item_codes.shape[1] - 1)
        return int(self.n_rows * int(embedding_dim) + extra)

    def compression_ratio(self, embedding_dim: int = 64) -> float:
        """`parameters` over those of a full table, one row per id."""
        return self.parameters(embedding_dim) / ((self.n_users + self.n_items) * int(embedding_dim))

    def nbytes(self, embedding_dim: int = 64, itemsize: int = 4) -> int:
        """Bytes to serve from: both tables at ``itemsize`` bytes per number, and all codes at 4."""
        codes = self.user_codes.size + self.item_codes.size
        return int(self.n_rows * int(embedding_dim) * itemsize + codes * 4)

    def lookup(self, ids: Any, side: str = "user") -> tuple[Array, Array]:
        """Codes and weights of raw ids.

        Args:
            ids: one raw id or a 1-D sequence of n ids.
            side: "user" or "item".
        Returns:
            codes int32 (n, m) with -1 for unused places, weights float32 (n, m).
        Raises:
            ValueError: an id is unknown (the message names the first), or the side is.
        """
        codes, weights = self._side(side)[:2]
        rows = self.index(side).rows(ids)
        return codes[rows], weights[rows]

    def index(self, side: str) -> IdIndex:
        """Raw ids to row numbers of the codes of a side."""
        codes = self._side(side)[0]
        if side not in self._indices:
            raw = self.user_ids if side == "user" else self.item_ids
            self._indices[side] = IdIndex(raw, codes.shape[0], side)
        return self._indices[side]

    def assign(self, X_new_users: Any = None, X_new_items: Any = None) -> Assigned:
        """Codes of new users and items from their interactions with known ones; nothing is refitted or changed.

        Each newcomer takes the co-clusters that score best at the resolution and volumes of the fit, among those
        its side has rows of; without a usable interaction, the row of least volume.

        Args:
            X_new_users: interactions of new users with known items: a matrix (new users, n_items), arrays (users,
                items[, weights]) of raw ids, or a table with these columns.
            X_new_items: interactions of known users with new items: a matrix (n_users, new items), or as above.
        Returns:
            `Assigned`; `extend` adds it to the codebook.
        Raises:
            ValueError: an id has codes already, the sizes differ, or the codebook is not of `BACO`.
        """
        return assign(self, X_new_users, X_new_items)

    def extend(self, assigned: Assigned) -> Codebook:
        """A codebook that has the new ids too, after the known ones, whose codes stay as they are."""
        codes = {"user": self.user_codes, "item": self.item_codes}
        weights = {"user": self.user_weights, "item": self.item_weights}
        ids: dict[str, Array | None] = {"user": self.user_ids, "item": self.item_ids}
        for side in ("user", "item"):
            new, new_ids = getattr(assigned, f"{side}_codes"), getattr(assigned, f"{side}_ids")
            if new is None:
                continue
            known = ids[side]
            first = codes[side].shape[0]
            if known is None and not np.array_equal(new_ids, np.arange(first, first + len(new))):
                raise ValueError(
                    f"{side} ids are row numbers here, so new ones must be {first}, {first + 1}, ... without a gap"
                )
            checked, mean = _checked(side, new, None, self._side(side)[2])
            codes[side] = np.concatenate([codes[side], checked])
            weights[side] = np.concatenate([weights[side], mean])
            ids[side] = None if known is None else np.concatenate([known, new_ids])
        return Codebook(
            codes["user"],
            codes["item"],
            self.n_user_rows,
            self.n_item_rows,
            user_weights=weights["user"],
            item_weights=weights["item"],
            user_ids=ids["user"],
            item_ids=ids["item"],
            meta=self.meta,
            anchors=self.anchors,
        )

    def to_csr(self, side: str = "user") -> scipy.sparse.csr_matrix:
        """The matrix M, ids × codebook rows, float32, whose product with the table gives every id's vector.

        Rows sum to 1 under the default weights.
        """
        import scipy.sparse as sp

        codes, weights, n_rows = self._side(side)
        used = codes >= 0
        pointer = np.concatenate([[0], np.cumsum(used.sum(1))])
        return sp.csr_matrix((weights[used], codes[used], pointer), shape=(codes.shape[0], n_rows))

    def report(self, X: Any = None) -> dict[str, Any]:
        """Balance of the codebook as plain numbers; with the interactions ``X`` also volumes and edges inside.

        See `baco.metrics.balance_report` for the entries.
        """
        from .metrics import balance_report

        return balance_report(self, X)

    def to_parquet(self, path: str | Path, side: str = "user") -> Path:
        """Write raw id, codes and weights of a side as a table: columns id, code_0, weight_0, code_1, ...

        An unused place is null. Databases and other languages read it; needs the extra ``baco[parquet]``.
        """
        from ._tables import write_codes

        if Path(path).suffix != ".parquet":
            raise ValueError(f"expected a name that ends in .parquet, got {Path(path).name!r}")
        return write_codes(self, Path(path), side)

    def to_torch(self, embedding_dim: int = 64, **options: Any) -> tuple[CompressedEmbedding, CompressedEmbedding]:
        """Tables of users and items that train, in the places of two ``nn.Embedding``; needs ``baco[torch]``.

        ``options`` as in `baco.torch.CompressedEmbedding`.
        """
        from .torch import CompressedEmbedding

        users = CompressedEmbedding.from_codebook(self, "user", embedding_dim, **options)
        return users, CompressedEmbedding.from_codebook(self, "item", embedding_dim, **options)

    def save(self, path: str | Path) -> Path:
        """Write an npz file without pickles; the file appears whole or not at all. Returns its path."""
        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(f"a codebook is saved as .npz, got {path.name!r}")
        arrays: dict[str, Array] = {
            "user_codes": self.user_codes,
            "item_codes": self.item_codes,
            "user_weights": self.user_weights,
            "item_weights": self.item_weights,
            "header": np.array(
                json.dumps(
                    {
                        "format": "baco codebook",
                        "schema": SCHEMA,
                        "n_user_rows": self.n_user_rows,
                        "n_item_rows": self.n_item_rows,
                        "meta": self.meta,
                        "anchors": None if self.anchors is None else self.anchors.header(),
                    }
                )
            ),
            **({} if self.anchors is None else self.anchors.arrays()),
        }
        if self.user_ids is not None:
            arrays["user_ids"] = self.user_ids
        if self.item_ids is not None:
            arrays["item_ids"] = self.item_ids
        with atomic_write(path, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Codebook:
        """Read what `save` wrote.

        Raises:
            ValueError: not a codebook, damaged, or of a newer schema.
        """
        import zipfile
        import zlib

        path = Path(path)
        try:
            # opened here: given a path, numpy leaves a damaged file open
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            header = json.loads(str(arrays.pop("header")))
            if header["format"] != "baco codebook":
                raise KeyError("format")
            schema = int(header["schema"])
        except FileNotFoundError:
            raise
        # RuntimeError: zipfile's word for encryption, versions and compressions that it does not know
        except (
            KeyError, TypeError, ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error
        ) as problem:  # fmt: skip
            raise ValueError(
                f"{path} is not a baco codebook ({problem}); expected a file that Codebook.save wrote"
            ) from problem
        if schema > SCHEMA:
            raise ValueError(f"{path} has codebook schema {schema}; this version reads up to {SCHEMA}: upgrade baco")
        missing = {"user_codes", "item_codes", "user_weights", "item_weights"} - arrays.keys()
        if missing:
            raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; the file is damaged, save the codebook again")
        return cls(
            arrays["user_codes"],
            arrays["item_codes"],
            header["n_user_rows"],
            header["n_item_rows"],
            user_weights=arrays["user_weights"],
            item_weights=arrays["item_weights"],
            user_ids=arrays.get("user_ids"),
            item_ids=arrays.get("item_ids"),
            meta=header["meta"],
            anchors=Anchors.read(arrays, header["anchors"]) if header.get("anchors") else None,
        )

    def _side(self, side: str) -> tuple[Array, Array, int]:
        if side == "user":
            return self.user_codes, self.user_weights, self.n_user_rows
        if side == "item":
            return self.item_codes, self.item_weights, self.n_item_rows
        raise ValueError(f"side must be 'user' or 'item', got {side!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Codebook):
            return NotImplemented
        same = (self.n_user_rows, self.n_item_rows, self.meta) == (other.n_user_rows, other.n_item_rows, other.meta)
        pairs = [(getattr(self, name), getattr(other, name)) for name in _ARRAYS]
        return same and all((a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"Codebook({self.n_users} users -> {self.n_user_rows} rows, {self.n_items} items -> {self.n_item_rows} "
            f"rows, ratio {self.ratio:.3f})"
        )


_ARRAYS = ("user_codes", "item_codes", "user_weights", "item_weights", "user_ids", "item_ids")


def _checked(side: str, codes: Any, weights: Any, n_rows: int) -> tuple[Array, Array]:
    codes = np.asarray(codes)
    if codes.ndim == 1:
        codes = codes[:, None]
    if codes.ndim != 2 or codes.shape[1] < 1 or codes.dtype.kind not in "iu":
        raise ValueError(f"{side}_codes must be integers of shape (n, m), got {codes.dtype} of shape {codes.shape}")
    if codes.size and (codes.min() < -1 or codes.max() >= n_rows or codes[:, 0].min() < 0):
        raise ValueError(
            f"{side}_codes must lie in [0, {n_rows}), -1 only beyond the first place; got {codes.min()}..{codes.max()}"
        )
    codes = np.ascontiguousarray(codes, dtype=np.int32)
    if weights is None:
        used = codes >= 0
        weights = used / np.maximum(used.sum(1, keepdims=True), 1)
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    if weights.shape != codes.shape:
        raise ValueError(f"{side}_weights must be shaped like the codes {codes.shape}, got {weights.shape}")
    if not np.isfinite(weights).all():
        raise ValueError(f"{side}_weights hold NaN or infinity; leave them out for the mean of the rows")
    return codes, weights
