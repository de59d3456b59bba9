"""What others ask of a codebook, apart from the class itself, so that it can use them without a circle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from ._ids import IdIndex

Array = np.ndarray[Any, Any]


class Assigned(NamedTuple):
    """Codes of new ids, to be used as they are or with `Codebook.extend`; None for a side that was not asked for.

    Attributes:
        user_codes, item_codes: int32 (k, m), like the codebook's.
        user_ids, item_ids: raw id of each line; row numbers where the codebook has no raw ids.
    """

    user_codes: Array | None = None
    item_codes: Array | None = None
    user_ids: Array | None = None
    item_ids: Array | None = None


@dataclass
class Anchors:
    """What a fit knows that newcomers are scored with.

    Attributes:
        user_labels, item_labels: int64, the co-cluster that each codebook row stands for.
        user_volumes, item_volumes: float64, summed mass of the users and of the items of each co-cluster.
        scale: resolution over normalisation; 0 where the fit had none (an identity map).
        schemes: balance weights of users and of items by name; "array" where they were given as numbers.
    """

    user_labels: Array
    item_labels: Array
    user_volumes: Array
    item_volumes: Array
    scale: float
    schemes: tuple[str, str]

    def arrays(self) -> dict[str, Array]:
        names = ("user_labels", "item_labels", "user_volumes", "item_volumes")
        return {f"anchor_{name}": getattr(self, name) for name in names}

    def header(self) -> dict[str, Any]:
        return {"scale": self.scale, "schemes": list(self.schemes)}

    @classmethod
    def read(cls, arrays: dict[str, Array], header: dict[str, Any]) -> Anchors:
        names = ("user_labels", "item_labels", "user_volumes", "item_volumes")
        parts = {name: arrays[f"anchor_{name}"] for name in names}
        return cls(**parts, scale=float(header["scale"]), schemes=tuple(header["schemes"]))


class Codes(Protocol):
    """Codes of users and items; `Codebook` is one."""

    user_codes: Array
    item_codes: Array
    user_weights: Array
    item_weights: Array
    user_ids: Array | None
    item_ids: Array | None
    n_user_rows: int
    n_item_rows: int
    anchors: Anchors | None

    @property
    def n_users(self) -> int: ...

    @property
    def n_items(self) -> int: ...

    @property
    def n_rows(self) -> int: ...

    @property
    def ratio(self) -> float: ...

    def index(self, side: str) -> IdIndex: ...
