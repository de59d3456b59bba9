"""The drop-in for ``nn.Embedding``: values, gradients, unseen ids, state, compiling."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs torch, the extra baco[torch]")

from baco import Codebook  # noqa: E402
from baco.torch import CompressedEmbedding  # noqa: E402

D = 5


@st.composite
def codebooks(draw, places=(1, 2, 3)):
    """Codes of a few ids, with unused places, and sometimes weights that are no plain mean."""
    n, m, rows = draw(st.integers(1, 9)), draw(st.sampled_from(places)), draw(st.integers(3, 6))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    codes = np.array([rng.permutation(rows)[:m] for _ in range(n)])
    codes[:, 1:][rng.random((n, m - 1)) < 0.4] = -1
    weights = None
    if draw(st.booleans()):
        weights = np.where(codes >= 0, rng.uniform(0.2, 2, codes.shape), 0).astype(np.float32)
    return Codebook(codes, np.zeros((1, 1), int), rows, 1, user_weights=weights)


def make(book, **options):
    torch.manual_seed(0)
    return CompressedEmbedding.from_codebook(book, "user", D, **{"dtype": torch.float64, **options})


def dense(book):
    return torch.from_numpy(book.to_csr("user").toarray().astype(np.float64))


@given(codebooks(), st.booleans(), st.sampled_from([(), (4,), (2, 3), (0,), (1, 2, 1)]))
@settings(max_examples=25)
def test_values_and_gradients_equal_the_dense_product(book, sparse, shape):
    table = make(book, sparse=sparse)
    matrix = dense(book)
    ids = torch.randint(0, book.n_users, shape, generator=torch.Generator().manual_seed(1))
    plain = table.weight.detach().clone().requires_grad_()
    expected = (matrix @ plain)[ids]
    got = table(ids)
    assert got.shape == (*shape, D)
    assert torch.allclose(got, expected, atol=1e-7)  # the codebook's weights are float32
    pull = torch.randn(got.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    got.backward(pull)
    expected.backward(pull)
    assert table.weight.grad.is_sparse == sparse
    assert torch.allclose(table.weight.grad.to_dense(), plain.grad, atol=1e-7)


@given(codebooks())
@settings(max_examples=25)
def test_the_full_table_and_its_gradient_equal_the_lookup_of_all_ids(book):
    table = make(book)
    pull = torch.randn(book.n_users, D, dtype=torch.float64)
    full = table.full()
    full.backward(pull)
    by_product = table.weight.grad.clone()
    table.weight.grad = None
    looked_up = table(torch.arange(book.n_users))
    looked_up.backward(pull)
    assert torch.allclose(full, looked_up, atol=1e-12)
    assert torch.allclose(by_product, table.weight.grad, atol=1e-12)


@pytest.mark.parametrize("places", [1, 2, 3])
@pytest.mark.parametrize("unseen", ["raise", "default", "modulo"])
def test_gradcheck(places, unseen):
    codes = np.array([[0, 1, 2], [1, -1, -1], [2, 0, -1]])[:, :places]
    table = CompressedEmbedding(codes, 2, unseen=unseen, dtype=torch.float64)
    ids = torch.tensor([[0, 1], [2, 2]]) if unseen == "raise" else torch.tensor([[0, 7], [-3, 2]])

    def lookup(weight):
        return torch.func.functional_call(table, {"weight": weight}, (ids,))

    assert torch.autograd.gradcheck(lookup, table.weight.detach().clone().requires_grad_())


class Full(torch.nn.Module):
    """The full table as a module's result."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self):
        return self.table.full()


def test_gradcheck_of_the_full_table():
    for places in (1, 2, 3):  # means of one or two rows, and weighted sums
        table = CompressedEmbedding(np.array([[0, 1, 2], [1, -1, -1], [2, 0, -1]])[:, :places], 2, dtype=torch.float64)

        def full(weight, table=table):
            return torch.func.functional_call(Full(table), {"table.weight": weight}, ())

        assert torch.autograd.gradcheck(full, table.weight.detach().clone().requires_grad_())


def test_a_codebook_gives_both_tables():
    book = Codebook(np.array([[0, 1], [2, -1]]), np.array([[0], [1], [0]]), 3, 2)
    users, items = book.to_torch(8, sparse=True)
    assert (users.num_embeddings, users.num_rows) == (book.n_users, book.n_user_rows)
    assert (items.num_embeddings, items.num_rows) == (book.n_items, book.n_item_rows)
    assert (items.embedding_dim, items.sparse) == (8, True)


def test_a_row_gets_the_weighted_sum_of_its_members_gradients():
    table = CompressedEmbedding([[0, -1], [0, 1], [1, 2]], 1, dtype=torch.float64)
    table.full().backward(torch.tensor([[1.0], [10.0], [100.0]], dtype=torch.float64))
    assert table.weight.grad[:, 0].tolist() == [1 + 5, 5 + 50, 50]


def test_the_state_is_rows_and_codes_and_nothing_else():
    table = CompressedEmbedding([[0, 1], [2, -1]], 4)
    table.full()
    assert {name: tuple(one.shape) for name, one in table.state_dict().items()} == {"weight": (3, 4), "codes": (2, 2)}
    other = CompressedEmbedding([[2, -1], [1, 0]], 4, num_rows=3)
    before = other.full().clone()
    other.load_state_dict(table.state_dict())
    assert torch.equal(other.full(), table.full())
    assert not torch.equal(before, other.full())
    again = pickle.loads(pickle.dumps(table))
    assert torch.equal(again(torch.tensor([0, 1])), table(torch.tensor([0, 1])))
    weighted = CompressedEmbedding([[0, 1]], 4, code_weights=[[1.0, 1.0]])
    assert set(weighted.state_dict()) == {"weight", "codes", "code_weights"}


def test_a_state_of_another_codebook_is_refused():
    table = CompressedEmbedding([[0, 1], [2, -1]], 4)
    with pytest.raises(ValueError, match=r"weight in the state has shape \(3, 4\), this module \(3, 5\)"):
        CompressedEmbedding([[0, 1], [2, -1]], 5).load_state_dict(table.state_dict())
    with pytest.raises(ValueError, match=r"codes in the state has shape \(2, 2\), this module \(3, 1\)"):
        CompressedEmbedding([0, 1, 2], 4).load_state_dict(table.state_dict())


@pytest.mark.parametrize("places", [1, 2, 3])
def test_unseen_ids(places):
    codes = np.array([[0, 1, 2], [1, -1, -1], [2, 0, -1]])[:, :places]
    rows = int(codes.max()) + 1
    ids = torch.tensor([0, 3, -1, 40])
    with pytest.raises(IndexError, match=r"id -1 has no codes: ids lie in \[0, 3\)"):
        CompressedEmbedding(codes, 2)(ids)
    default = CompressedEmbedding(codes, 2, unseen="default")
    assert default.weight.shape == (rows + 1, 2)
    got = default(ids)
    assert torch.allclose(got[1:], default.weight[rows].expand(3, 2))
    assert torch.allclose(got[0], default.full()[0])
    known = CompressedEmbedding(codes, 2, unseen="default", default_code=0)
    assert known.weight.shape == (rows, 2)
    assert torch.allclose(known(ids)[1:], known.weight[0].expand(3, 2))
    modulo = CompressedEmbedding(codes, 2, unseen="modulo")
    assert torch.allclose(modulo(ids)[1:], modulo.weight[ids[1:] % rows])


def test_compiled_without_a_graph_break():
    for options in ({}, {"unseen": "modulo"}):
        table = CompressedEmbedding([[0, 1], [2, -1], [1, 2]], 3, **options)
        ids = torch.tensor([[0, 2], [1, 1]])
        compiled = torch.compile(table, fullgraph=True, backend="aot_eager")
        assert torch.allclose(compiled(ids), table(ids))
        compiled(ids).sum().backward()
        by_compiled = table.weight.grad.clone()
        table.weight.grad = None
        table(ids).sum().backward()
        assert torch.allclose(by_compiled, table.weight.grad)
    full = torch.compile(lambda: table.full(), fullgraph=True, backend="aot_eager")
    assert torch.allclose(full(), table.full())


def test_bfloat16_is_float32_rounded():
    codes = np.random.default_rng(0).integers(0, 40, (200, 2))
    exact = CompressedEmbedding(codes, 16)
    rough = copy.deepcopy(exact).to(torch.bfloat16)
    ids = torch.arange(200)
    got, expected = rough(ids), exact(ids)
    assert got.dtype == torch.bfloat16
    assert ((got.float() - expected).norm() / expected.norm()).item() < 2e-2
    assert torch.equal(rough.full(), got)


def test_data_parallel_and_moving_to_another_type():
    table = CompressedEmbedding([[0, 1], [1, -1]], 3)
    assert torch.equal(torch.nn.DataParallel(table)(torch.tensor([1])), table(torch.tensor([1])))
    before = table.full().double()
    assert torch.allclose(table.double().full(), before)


def test_sparse_gradients_train_with_sparse_adam():
    table = CompressedEmbedding([[0, 1], [1, -1], [2, 3]], 3, sparse=True)
    before = table.weight.detach().clone()
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.1)
    table(torch.tensor([0, 1])).sum().backward()
    optimizer.step()
    moved = (table.weight.detach() != before).any(1)
    assert moved.tolist() == [True, True, False, False]


@given(codebooks(), st.booleans())
@settings(max_examples=25)
def test_a_trained_table_that_fits_the_codebook_is_kept_exactly(book, weighted):
    rows = np.random.default_rng(0).normal(size=(book.n_user_rows, D))
    trained = book.to_csr("user") @ rows
    counts = np.arange(1, book.n_users + 1) if weighted else None
    table = CompressedEmbedding.from_pretrained(trained, book, "user", id_weights=counts, dtype=torch.float64)
    assert np.allclose(table.full().detach(), trained, atol=1e-5)


@given(codebooks(places=(2,)))
@settings(max_examples=25)
def test_least_squares_is_never_farther_than_the_member_mean(book):
    trained = torch.randn(book.n_users, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    error = {
        method: float(
            (CompressedEmbedding.from_pretrained(trained, book, "user", method=method).full() - trained).norm().detach()
        )
        for method in ("least-squares", "mean")
    }
    assert error["least-squares"] <= error["mean"] + 1e-6


def test_the_member_mean_by_hand():
    book = Codebook(np.array([0, 0, 1]), np.zeros(1, int), 2, 1)
    trained = torch.tensor([[0.0, 2.0], [4.0, 2.0], [7.0, 7.0]])
    table = CompressedEmbedding.from_pretrained(trained, book, "user", method="mean", freeze=True)
    assert table.weight.tolist() == [[2.0, 2.0], [7.0, 7.0]]
    assert not table.weight.requires_grad
    table = CompressedEmbedding.from_pretrained(trained, book, "user", method="mean", id_weights=[3, 1, 1])
    assert table.weight[0].tolist() == [1.0, 2.0]


BAD = {
    "floats": (([[0.5]], 3), {}, "codes must be integers"),
    "first": (([[-1, 0]], 3), {}, "-1 only beyond the first place"),
    "few": (([0, 5], 3), {"num_rows": 4}, "codes name row 5; give at least 6"),
    "width": (([0], 0), {}, "embedding_dim"),
    "policy": (([0], 3), {"unseen": "zero"}, "unseen must be"),
    "default": (([0], 3), {"default_code": 0}, 'goes with unseen="default"'),
    "beyond": (([0], 3), {"unseen": "default", "default_code": 9}, "is no row"),
    "weights": (([0], 3), {"code_weights": [[1.0, 2.0]]}, "shaped like the codes"),
    "nan": (([0], 3), {"code_weights": [[float("nan")]]}, "NaN or infinity"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    arguments, options, message = BAD[name]
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        CompressedEmbedding(*arguments, **options)


def test_bad_input():
    table = CompressedEmbedding([0, 1], 3)
    with pytest.raises(TypeError, match=r"ids must be integers, got torch.float32"):
        table(torch.tensor([0.0]))
    book = Codebook(np.array([0, 1]), np.zeros(1, int), 2, 1)
    with pytest.raises(ValueError, match="a row for each of the 2 users"):
        CompressedEmbedding.from_pretrained(np.ones((3, 4)), book, "user")
    with pytest.raises(ValueError, match="NaN or infinity"):
        CompressedEmbedding.from_pretrained(np.full((2, 4), np.nan), book, "user")
    with pytest.raises(ValueError, match="side must be"):
        CompressedEmbedding.from_codebook(book, "users", 3)
