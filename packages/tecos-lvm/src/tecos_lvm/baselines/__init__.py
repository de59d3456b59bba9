"""Baselines with one facade: ``fit(train, val)``, ``predict_p(stimulus)``, ``log_likelihood``, ``generate``."""

from tecos_lvm.baselines.deep import CNN, CRNN
from tecos_lvm.baselines.linear import LNModel, PoissonGLM

__all__ = ["CNN", "CRNN", "LNModel", "PoissonGLM"]
