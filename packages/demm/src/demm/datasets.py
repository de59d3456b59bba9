"""Graphs to try things on: a generator with known clusters, and readers of files a user has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

__all__ = ["Dataset", "load_acm", "load_dblp", "load_yelp", "make_multirelational"]

GENERATOR_VERSION = 1


@dataclass(frozen=True)
class Dataset:
    """A graph with attributes and known clusters.

    Attributes:
        graph: relation name -> symmetric scipy matrix, [nodes, nodes].
        X: attributes, [nodes, features].
        labels: [nodes].
    """

    name: str
    graph: dict[str, sp.csr_array]
    X: Any
    labels: np.ndarray

    @property
    def n_clusters(self) -> int:
        return int(np.unique(self.labels).shape[0])


def make_multirelational(
    n_nodes: int = 1000,
    n_clusters: int = 4,
    *,
    degrees: tuple[float, ...] = (10.0, 20.0),
    mixing: tuple[float, ...] = (0.2, 0.4),
    n_noise: int = 0,
    n_features: int = 32,
    signal: float = 1.0,
    attributes: Literal["gaussian", "counts"] = "gaussian",
    isolated: float = 0.0,
    random_state: int | None = None,
) -> Dataset:
    """Contextual stochastic block model with several relations and known clusters.

    Args:
        degrees: mean degree of each informative relation.
        mixing: share of each relation's edges that ignore the clusters, one per relation.
        n_noise: relations whose edges all ignore the clusters (mean degree ``degrees[0]``).
        signal: distance of the cluster means in units of the noise.
        attributes: ``"gaussian"``, or ``"counts"`` (Poisson words, scipy sparse).
        isolated: share of the nodes that lose their edges, drawn anew per relation.
        random_state: seed; the same seed gives the same graph in this version of the generator.
    """
    if len(degrees) != len(mixing):
        raise ValueError(f"got {len(degrees)} degrees and {len(mixing)} mixing shares; expected one of each a relation")
    if not 1 <= n_clusters <= n_nodes:
        raise ValueError(f"n_clusters={n_clusters}: expected 1 to n_nodes={n_nodes}")
    rng = np.random.default_rng(random_state)
    labels = rng.permutation(np.arange(n_nodes) % n_clusters)
    members = [np.flatnonzero(labels == k) for k in range(n_clusters)]
    graph = {}
    plan = [(f"informative_{i}", d, m) for i, (d, m) in enumerate(zip(degrees, mixing, strict=True))]
    plan += [(f"noise_{i}", degrees[0], 1.0) for i in range(n_noise)]
    for name, degree, mixed in plan:
        n_edges = int(degree * n_nodes / 2)
        source = rng.integers(0, n_nodes, n_edges)
        target = rng.integers(0, n_nodes, n_edges)
        own = rng.random(n_edges) >= mixed
        sizes = np.array([group.shape[0] for group in members])
        pick = (rng.random(n_edges) * sizes[labels[source]]).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        grouped = np.concatenate(members)
        target = np.where(own, grouped[offsets[labels[source]] + pick], target)
        keep = source != target
        if isolated:
            lonely = rng.random(n_nodes) < isolated
            keep &= ~lonely[source] & ~lonely[target]
        source, target = source[keep], target[keep]
        half = sp.coo_array((np.ones(source.shape[0], np.float32), (source, target)), shape=(n_nodes, n_nodes))
        matrix = sp.csr_array(half + half.T)
        matrix.data[:] = 1
        matrix.sort_indices()
        graph[name] = matrix
    centres = rng.standard_normal((n_clusters, n_features))
    X: Any
    if attributes == "gaussian":
        X = (signal * centres[labels] + rng.standard_normal((n_nodes, n_features))).astype(np.float32)
    elif attributes == "counts":
        rates = np.exp(0.5 * signal * centres - 1.0)
        X = sp.csr_array(rng.poisson(rates[labels]).astype(np.float32))
    else:
        raise ValueError(f"attributes={attributes!r}: expected 'gaussian' or 'counts'")
    return Dataset(f"make_multirelational v{GENERATOR_VERSION}", graph, X, labels)


def load_acm(path: str | os.PathLike[str]) -> Dataset:
    """ACM: 3,025 papers, relations same-subject and same-author, 1,870 words, 3 areas.

    Args:
        path: ``ACM3025.mat`` (repository googlebaba/WWW2020-O2MAC), or the folder that holds it.
    """
    from scipy.io import loadmat

    file = _inside(path, "ACM3025.mat")
    content = loadmat(file, variable_names=["PLP", "PAP", "feature", "label"])
    missing = [key for key in ("PLP", "PAP", "feature", "label") if key not in content]
    if missing:
        raise ValueError(f"{file.name} lacks {', '.join(missing)}; expected the ACM3025 file of O2MAC")
    graph = {name: sp.csr_array(content[key].astype(np.float32)) for name, key in (("PSP", "PLP"), ("PAP", "PAP"))}
    return Dataset("ACM", graph, sp.csr_array(content["feature"]), np.argmax(content["label"], axis=1))


def load_dblp(path: str | os.PathLike[str]) -> Dataset:
    """DBLP: 4,057 authors, relations APA, APCPA and APTPA, 334 words, 4 areas.

    APTPA is not among the published files; it is rebuilt by linking authors who share a term, so figures on
    it are not exactly those of papers that used another version.

    Args:
        path: the folder ``data/dblp`` of repository liun-online/HeCo.
    """
    folder = Path(path)
    features = sp.csr_array(sp.load_npz(_inside(folder, "a_feat.npz")))
    labels = np.load(_inside(folder, "labels.npy"), allow_pickle=False)
    n = features.shape[0]
    graph = {
        name: sp.csr_array(sp.load_npz(_inside(folder, file)).astype(np.float32))
        for name, file in (("APA", "apa.npz"), ("APCPA", "apcpa.npz"))
    }
    pairs = {key: np.loadtxt(_inside(folder, f"{key}.txt"), dtype=np.int64) for key in ("pa", "pt")}
    n_papers = int(max(pairs["pa"][:, 0].max(), pairs["pt"][:, 0].max())) + 1
    authors = _incidence(pairs["pa"][:, 1], pairs["pa"][:, 0], (n, n_papers))
    terms = _incidence(pairs["pt"][:, 0], pairs["pt"][:, 1], (n_papers, int(pairs["pt"][:, 1].max()) + 1))
    used = sp.csr_array(authors @ terms)
    shared = sp.csr_array(used @ used.T)
    shared.data[:] = 1
    graph["APTPA"] = shared.astype(np.float32)
    return Dataset("DBLP", graph, features, labels)


def load_yelp(path: str | os.PathLike[str]) -> Dataset:
    """Yelp: 2,614 businesses; relations by shared user, star level and service; 82 words, 3 kinds.

    Args:
        path: ``yelp2614_bipartite.npz``: arrays ``X``, ``y`` and index pairs ``bu``, ``bl``, ``bs``.
    """
    file = _inside(path, "yelp2614_bipartite.npz")
    with np.load(file, allow_pickle=False) as content:
        X, y = content["X"], content["y"]
        graph = {}
        for name, key in (("BUB", "bu"), ("BLB", "bl"), ("BSB", "bs")):
            pairs = content[key]
            pairs = pairs if pairs.shape[0] == 2 else pairs.T
            b = _incidence(pairs[0], pairs[1], (X.shape[0], int(pairs[1].max()) + 1))
            product = sp.csr_array(b @ b.T)
            product.data[:] = 1
            graph[name] = product.astype(np.float32)
    return Dataset("Yelp", graph, sp.csr_array(X), y)


def _incidence(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    matrix = sp.csr_array((np.ones(rows.shape[0], dtype=np.float32), (rows, columns)), shape=shape)
    matrix.data[:] = 1
    return matrix


def _inside(path: str | os.PathLike[str], name: str) -> Path:
    """``path`` itself when it is the file, otherwise the file of that name in the folder."""
    given = Path(path)
    file = given / name if given.is_dir() else given
    if not file.exists():
        raise FileNotFoundError(f"{file} is not there; download it first and pass its path")
    return file
