"""Defining operators through torch's low-level library interface.

``torch.library.custom_op`` wraps every call in ``torch._dynamo.disable``: the first call imports dynamo (seconds) and
each later one pays for the wrapper. The low-level interface gives the same operator without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_library: Any = torch.library.Library("spk_neurons", "FRAGMENT")  # type: ignore[no-untyped-call]


def define(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: make ``torch.ops.spk_neurons.<name>`` out of a typed function that mutates nothing."""

    def register(function: Callable[..., Any]) -> Any:
        schema = torch.library.infer_schema(function, mutates_args=())
        _library.define(name + schema)
        _library.impl(name, function, "CompositeExplicitAutograd")
        return getattr(torch.ops.spk_neurons, name).default

    return register


def fake(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: the shapes and dtypes of an operator's outputs, for tracing."""
    register: Callable[[Callable[..., Any]], Any] = torch.library.register_fake(f"spk_neurons::{name}", lib=_library)
    return register


def vmap(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: the operator's rule under ``torch.func.vmap``."""
    register: Callable[[Callable[..., Any]], Any] = torch.library.register_vmap(f"spk_neurons::{name}", lib=_library)
    return register


def autograd(name: str, backward: Callable[..., Any], setup: Callable[..., Any]) -> None:
    """The operator's backward pass."""
    torch.library.register_autograd(f"spk_neurons::{name}", backward, setup_context=setup, lib=_library)
