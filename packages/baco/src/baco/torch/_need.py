"""PyTorch, or one line on how to get it."""

from __future__ import annotations

try:
    import torch
except ImportError:
    raise ImportError('baco.torch needs PyTorch; install it with: pip install "baco[torch]"') from None

__all__ = ["torch"]
