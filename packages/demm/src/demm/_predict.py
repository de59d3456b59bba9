"""Clusters of nodes that were not there at ``fit``: one diffusion step, then the nearest centre."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from demm._base import MultiRelationalClustering
from demm._canonical import check_values
from demm._stage2 import centre_rows, orthogonal_random_features

ROWS = 2048


def predict_labels(model: MultiRelationalClustering, graph: Any, X: Any) -> np.ndarray:
    """See ``DEMMPlus.predict``."""
    n_fitted = model.labels_.shape[0]
    links = _links(graph, model.relation_names_, n_fitted)
    n_new = links[0].shape[0]
    spectral = model._feature_map is None
    if spectral and X is not None:
        raise ValueError("this model was fitted without attributes; pass X=None")
    if not spectral and X is None:
        raise ValueError(f"this model was fitted with {model.n_features_in_} attributes; pass X for the new nodes")
    unscaled = model.features_ * model._norms[:, None].astype(model.features_.dtype)
    diffused = np.zeros((n_new, unscaled.shape[1]), dtype=np.float64)
    for r, (link, weight) in enumerate(zip(links, model.relation_weights_, strict=True)):
        if weight == 0:
            continue
        matrix = _binarised(link) if model.binarize else link
        degree = np.asarray(matrix.sum(axis=1)).ravel()
        root = np.zeros_like(degree, dtype=np.float64)
        np.divide(1.0, np.sqrt(degree), out=root, where=degree > 0)
        scaled = sp.csr_array(sp.diags_array(root) @ matrix @ sp.diags_array(model._degrees[r]))
        diffused += weight * (scaled @ unscaled)
    if spectral:
        values = np.asarray(model._eigenvalues)
        # u = Ahat u / lambda, for new rows as for old ones; a vanishing eigenvalue carries nothing over
        H = diffused / np.where(np.abs(values) > 1e-8, values, np.inf)
    else:
        assert model._feature_map is not None
        panel = model._feature_map.transform(X, np.float64)
        if panel.shape[0] != n_new:
            raise ValueError(f"X has {panel.shape[0]} rows but the relations have {n_new}; expected the same new nodes")
        H = (panel + model.alpha * diffused) / (1.0 + model.alpha)
    norms = np.linalg.norm(H, axis=1, keepdims=True)
    H = np.where(norms > 0, H / np.where(norms > 0, norms, 1.0), 1.0 / np.sqrt(H.shape[1]))
    return _nearest(model, H)


def _links(graph: Any, names: list[str], n_fitted: int) -> list[sp.csr_array]:
    if isinstance(graph, Mapping):
        if sorted(map(str, graph)) != sorted(names):
            raise ValueError(f"got relations {sorted(map(str, graph))}, expected exactly {names}")
        given = [graph[name] for name in names]
    else:
        given = list(graph) if isinstance(graph, (list, tuple)) else [graph]
    if len(given) != len(names):
        raise ValueError(f"got {len(given)} relations, expected {len(names)}: {', '.join(names)}")
    links = []
    for name, one in zip(names, given, strict=True):
        link = sp.csr_array(one)
        if link.ndim != 2 or link.shape[1] != n_fitted or link.shape[0] != sp.csr_array(given[0]).shape[0]:
            raise ValueError(
                f"relation {name!r} has shape {link.shape}, expected [new nodes, {n_fitted} fitted nodes], "
                "the same number of new nodes in every relation"
            )
        check_values(name, link.data)
        links.append(link)
    return links


def _binarised(link: sp.csr_array) -> sp.csr_array:
    result = link.astype(np.float64)
    result.sum_duplicates()
    result.eliminate_zeros()
    result.data[:] = 1
    return result


def _nearest(model: MultiRelationalClustering, H: np.ndarray) -> np.ndarray:
    """Embed rows as in ``fit`` (the random features' seed is kept) and take the nearest centre."""
    centred = centre_rows(H.astype(model.features_.dtype))
    if model.embedding == "features":
        Z = centred.astype(np.float64)
    else:
        rng = np.random.RandomState(model._stage2_seed)
        Z = orthogonal_random_features(centred, **model._drawn, rng=rng).astype(np.float64)
        if model.sinkhorn is not None:
            # a new row's Sinkhorn scale makes its affinities to the fitted nodes sum to 1
            total = model.embedding_.sum(axis=0, dtype=np.float64)
            sums = Z @ total
            Z /= np.maximum(sums, 1e-8 * np.abs(sums).max(initial=1e-300))[:, None]
    centres = model.cluster_centers_.astype(np.float64)
    squares = (centres**2).sum(axis=1)
    labels = np.empty(Z.shape[0], dtype=np.int32)
    for lo in range(0, Z.shape[0], ROWS):
        labels[lo : lo + ROWS] = np.argmin(squares - 2.0 * (Z[lo : lo + ROWS] @ centres.T), axis=1)
    return labels
