"""Attributes: the weighting against scikit-learn, the centred PCA against its own, sparse against dense."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import StandardScaler

from demm._features import FeatureMap, check_attributes, fit_features


def counts(seed=0, n=60, d=25):
    return np.random.default_rng(seed).poisson(0.4, (n, d)).astype(float)


def same_up_to_signs(a, b, tolerance=1e-8):
    signs = np.sign(np.sum(a * b, axis=0))
    np.testing.assert_allclose(a * signs, b, atol=tolerance)


def panel_of(X, **options):
    return fit_features(check_attributes(X, None), dtype=np.float64, **options)[0]


def test_tfidf_is_scikit_learns():
    X = counts()
    expected = TfidfTransformer().fit_transform(X).toarray()
    _, fitted = fit_features(X, kind="tfidf", n_components=5)
    np.testing.assert_allclose(fitted.weigh(X), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["tfidf", "l2", "standardize", "none"])
def test_pca_is_scikit_learns_and_sparse_equals_dense(kind):
    X = counts(1)
    _, fitted = fit_features(X, kind=kind, n_components=6)
    expected = PCA(6, svd_solver="full").fit_transform(np.asarray(fitted.weigh(X)))
    dense, sparse = panel_of(X, kind=kind, n_components=6), panel_of(sp.csr_array(X), kind=kind, n_components=6)
    same_up_to_signs(dense, expected)
    np.testing.assert_allclose(sparse, dense, atol=1e-8)
    np.testing.assert_allclose(dense.mean(axis=0), 0, atol=1e-10)


def test_standardize_is_scikit_learns_and_ignores_constant_columns():
    X = np.random.default_rng(0).standard_normal((40, 5)) * [1, 100, 0.01, 3, 0] + [0, 0, 5, 7, 1e6]
    _, fitted = fit_features(X, kind="standardize", n_components=4)
    np.testing.assert_allclose(fitted.weigh(X), StandardScaler().fit_transform(X), atol=1e-6)


def test_memory_mapped_attributes_are_read_in_blocks(tmp_path, monkeypatch):
    X = np.random.default_rng(0).standard_normal((500, 12))
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr("demm._features.BLOCK_ELEMENTS", 12 * 64)  # eight blocks
    np.testing.assert_allclose(panel_of(mapped, n_components=5), panel_of(X, n_components=5), atol=1e-9)


def test_wide_attributes_take_the_iterative_pca(monkeypatch):
    X = np.random.default_rng(0).standard_normal((50, 30)) * 2.0 ** -np.arange(30)
    expected = panel_of(X, kind="none", n_components=4)
    monkeypatch.setattr("demm._features.WIDE", 10)
    same_up_to_signs(panel_of(X, kind="none", n_components=4), expected, 1e-4)
    same_up_to_signs(panel_of(sp.csr_array(X), kind="none", n_components=4), expected, 1e-4)


@pytest.mark.parametrize(
    ("X", "kind"),
    [
        (counts(), "tfidf"),
        (counts().astype(int), "tfidf"),
        (counts() > 0, "tfidf"),
        (sp.csr_array(counts() * 0.5), "tfidf"),
        (counts() + 0.25, "standardize"),
        (counts() - 1, "standardize"),
        (sp.csr_array(counts() * -1.0), "standardize"),
    ],
)
def test_auto_picks_tfidf_for_counts_alone(X, kind):
    assert fit_features(check_attributes(X, None), n_components=3)[1].kind == kind


def test_precomputed_attributes_are_left_alone():
    X = counts()
    np.testing.assert_array_equal(panel_of(X, kind="precomputed"), X)


def test_transform_repeats_the_fit_row_by_row():
    X = counts(2)
    panel, fitted = fit_features(X, kind="tfidf", n_components=7, dtype=np.float64)
    assert isinstance(fitted, FeatureMap)
    np.testing.assert_allclose(fitted.transform(X[10:20], np.float64), panel[10:20], atol=1e-10)
    np.testing.assert_allclose(fitted.transform(sp.csr_array(X[10:20]), np.float64), panel[10:20], atol=1e-10)


def test_centring_keeps_a_common_offset_out():
    # without centring the first direction would be the offset, on which all nodes agree
    X = np.random.default_rng(0).standard_normal((80, 6)) + 100.0
    panel = panel_of(X, kind="none", n_components=3)
    assert np.abs(panel.mean(axis=0)).max() < 1e-9
    assert panel.std(axis=0).max() < 3
