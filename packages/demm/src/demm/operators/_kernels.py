"""Compiled loops over the rows of one relation.

All of them release the GIL and work on a range of rows, so that a thread pool can share the rows out; the
order of additions within a row is fixed, hence the result does not depend on the number of threads.

The inner loop of a sparse-times-dense product gathers whole rows of the dense matrix. It is written as a
vector type of 8 to 64 columns whose running sum stays in registers, with a software prefetch some entries
ahead: on a graph larger than the cache the loop waits for memory and nothing else, and a compiler's own
vectorisation of the plain loop leaves a factor of two on the table.
"""

# mypy: disable-error-code="no-untyped-call, no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils, errors
from numba.extending import intrinsic

FAST = {"contract", "reassoc", "nsz"}  # vectorised sums; NaN and infinities keep their meaning
CACHE_LINE = 64
INNER_ROWS = 128  # rows whose sums wait in the first cache for their inner product
AHEAD = 8  # entries between a prefetch and its use; 4 to 32 are within a few per cent


def _make_tile(width: int, weighted: bool, scaled: bool) -> Any:
    """An intrinsic: ``out[row, k] (+)= coef * sum_p scale[j_p] (value_p) x[j_p, k]``, k in col..col+width.

    ``fresh`` overwrites instead of adding, which saves reading a panel that is about to be replaced.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args

        def array(place: int) -> Any:
            return context.make_array(kinds[place])(context, builder, args[place])

        indices, values, scale, x, out = (array(place) for place in range(5))
        first, last_plus_one, row, col, coef, ahead, fresh = args[5:]
        element = context.get_data_type(kinds[3].dtype)
        item_bytes = context.get_abi_sizeof(element)
        vector = ir.VectorType(element, width)
        byte_pointer = ir.IntType(8).as_pointer()
        i32 = ir.IntType(32)
        index = first.type
        one = ir.Constant(index, 1)
        # an entry past the end of the array would be read by the look-ahead: clamp it
        n_entries = cgutils.unpack_tuple(builder, indices.shape, 1)[0]
        final = builder.sub(n_entries, one)
        n_columns = cgutils.unpack_tuple(builder, x.shape, 2)[1]
        prefetch = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte_pointer, i32, i32, i32]),
            "llvm.prefetch.p0",
        )

        def broadcast(value: Any) -> Any:
            undefined = ir.Constant(vector, ir.Undefined)
            return builder.shuffle_vector(
                builder.insert_element(undefined, value, i32(0)),
                undefined,
                ir.Constant(ir.VectorType(i32, width), [0] * width),
            )

        def neighbour(place: Any) -> Any:
            return builder.sext(builder.load(builder.gep(indices.data, [place])), index)

        def panel(matrix: Any, which: Any) -> Any:
            return builder.gep(matrix.data, [builder.add(builder.mul(which, n_columns), col)])

        total = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [0.0] * width), total)
        with cgutils.for_range_slice(builder, first, last_plus_one, one) as (place, _):
            later = builder.add(place, ahead)
            later = builder.select(builder.icmp_signed("<", later, final), later, final)
            coming = neighbour(later)
            upcoming = panel(x, coming)
            if scaled:
                address = builder.bitcast(builder.gep(scale.data, [coming]), byte_pointer)
                builder.call(prefetch, [address, i32(0), i32(3), i32(1)])
            for offset in range(0, width * item_bytes, CACHE_LINE):
                address = builder.gep(upcoming, [ir.Constant(index, offset // item_bytes)])
                builder.call(prefetch, [builder.bitcast(address, byte_pointer), i32(0), i32(3), i32(1)])
            which = neighbour(place)
            term = builder.load(builder.bitcast(panel(x, which), vector.as_pointer()), align=item_bytes)
            if scaled:
                factor = builder.load(builder.gep(scale.data, [which]))
                if weighted:
                    factor = builder.fmul(factor, builder.load(builder.gep(values.data, [place])))
                term = builder.fmul(term, broadcast(factor), flags=["contract"])
            builder.store(builder.fadd(builder.load(total), term, flags=["contract"]), total)
        target = builder.bitcast(panel(out, row), vector.as_pointer())
        term = builder.fmul(builder.load(total), broadcast(coef), flags=["contract"])
        with builder.if_else(fresh) as (overwrite, accumulate):
            with overwrite:
                builder.store(term, target, align=item_bytes)
            with accumulate:
                before = builder.load(target, align=item_bytes)
                builder.store(builder.fadd(before, term, flags=["contract"]), target, align=item_bytes)
        return context.get_dummy_value()

    @intrinsic
    def tile(
        typingctx: Any,
        indices: Any,
        values: Any,
        scale: Any,
        x: Any,
        out: Any,
        first: Any,
        last_plus_one: Any,
        row: Any,
        col: Any,
        coef: Any,
        ahead: Any,
        fresh: Any,
    ) -> Any:
        if any(array.layout != "C" for array in (indices, values, scale, x, out)):
            # addresses are computed by hand below: another layout would be read as if it were rows
            raise errors.TypingError("panels must be C-contiguous; use numpy.ascontiguousarray")
        places = (types.intp,) * 4
        return types.void(indices, values, scale, x, out, *places, x.dtype, types.intp, types.boolean), emit

    return tile


WIDTHS = (64, 32, 16, 8, 4)
_bare64, _bare32, _bare16, _bare8, _bare4 = (_make_tile(width, False, False) for width in WIDTHS)
_tile64, _tile32, _tile16, _tile8, _tile4 = (_make_tile(width, False, True) for width in WIDTHS)
_wtile64, _wtile32, _wtile16, _wtile8, _wtile4 = (_make_tile(width, True, True) for width in WIDTHS)


@njit(nogil=True, cache=True, fastmath=FAST)
def _last_columns(indices, values, scale, x, out, first, last, row, coef, fresh):
    """The columns past a multiple of 4; a call of its own, since its loops slow down a caller they sit in."""
    d = x.shape[1]
    start = d - d % 4
    if fresh:
        for c in range(start, d):
            out[row, c] = 0
    for p in range(first, last):
        j = indices[p]
        factor = coef
        if scale.shape[0]:
            factor *= scale[j]
        if values.shape[0]:
            factor *= values[p]
        for c in range(start, d):
            out[row, c] += factor * x[j, c]


# One body three times: inlined by numba, a shared one counts references to five arrays in every row; called, it
# hands them over in every row; and branches inside one loop cost the compiler its registers. Each of the three
# makes short rows twice as slow.
@njit(nogil=True, cache=True, fastmath=FAST)
def _gather_bare(starts, stops, indices, values, left, right, x, coef, out, fresh):
    d = x.shape[1]
    for i in range(out.shape[0]):
        first, last, c = starts[i], stops[i], coef * left[i]
        k = 0
        while k + 64 <= d:
            _bare64(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 64
        if k + 32 <= d:
            _bare32(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 32
        if k + 16 <= d:
            _bare16(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 16
        if k + 8 <= d:
            _bare8(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 8
        if k + 4 <= d:
            _bare4(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
        if d % 4:
            _last_columns(indices, values, right, x, out, first, last, i, c, fresh)


@njit(nogil=True, cache=True, fastmath=FAST)
def _gather_scaled(starts, stops, indices, values, left, right, x, coef, out, fresh):
    d = x.shape[1]
    for i in range(out.shape[0]):
        first, last, c = starts[i], stops[i], coef * left[i]
        k = 0
        while k + 64 <= d:
            _tile64(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 64
        if k + 32 <= d:
            _tile32(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 32
        if k + 16 <= d:
            _tile16(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 16
        if k + 8 <= d:
            _tile8(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 8
        if k + 4 <= d:
            _tile4(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
        if d % 4:
            _last_columns(indices, values, right, x, out, first, last, i, c, fresh)


@njit(nogil=True, cache=True, fastmath=FAST)
def _gather_weighted(starts, stops, indices, values, left, right, x, coef, out, fresh):
    d = x.shape[1]
    for i in range(out.shape[0]):
        first, last, c = starts[i], stops[i], coef * left[i]
        k = 0
        while k + 64 <= d:
            _wtile64(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 64
        if k + 32 <= d:
            _wtile32(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 32
        if k + 16 <= d:
            _wtile16(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 16
        if k + 8 <= d:
            _wtile8(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
            k += 8
        if k + 4 <= d:
            _wtile4(indices, values, right, x, out, first, last, i, k, c, AHEAD, fresh)
        if d % 4:
            _last_columns(indices, values, right, x, out, first, last, i, c, fresh)


@njit(nogil=True, cache=True, fastmath=FAST)
def _gather(starts, stops, indices, values, left, right, x, coef, out, fresh):
    """``out_i (+)= coef left_i sum_p value_p right_j x_j``, p in starts_i..stops_i, j the column of p."""
    if values.shape[0]:
        _gather_weighted(starts, stops, indices, values, left, right, x, coef, out, fresh)
    elif right.shape[0]:
        _gather_scaled(starts, stops, indices, values, left, right, x, coef, out, fresh)
    else:
        _gather_bare(starts, stops, indices, values, left, right, x, coef, out, fresh)


@njit(nogil=True, cache=True, fastmath=FAST)
def add_rows(indptr, indices, values, left, right, x, coef, out, fresh, lo, hi):
    """``out[lo:hi] += coef * diag(left) A diag(right) x`` on those rows; empty ``values`` mean ones.

    Empty ``right`` means ones too (``x`` is scaled already); ``fresh`` overwrites the rows instead.
    """
    starts, stops = indptr[lo:hi], indptr[lo + 1 : hi + 1]
    _gather(starts, stops, indices, values, left[lo:hi], right, x, coef, out[lo:hi], fresh)


@njit(nogil=True, cache=True, fastmath=FAST)
def inner_rows(indptr, indices, values, scale, x, lo, hi):
    """Share of rows ``lo..hi`` in <x, diag(scale) A diag(scale) x>, for a symmetric A with sorted columns.

    Only entries below the diagonal are gathered and counted twice: half the memory traffic of a product.
    """
    weighted = values.shape[0] > 0
    d = x.shape[1]
    total = 0.0
    one = x.dtype.type(1)
    sums = np.empty((INNER_ROWS, d), dtype=x.dtype)
    ones = np.ones(INNER_ROWS, dtype=x.dtype)
    diagonal = np.empty(INNER_ROWS, dtype=indptr.dtype)  # where each row's entries below the diagonal end
    for begin in range(lo, hi, INNER_ROWS):
        n = min(INNER_ROWS, hi - begin)
        for r in range(n):
            first, last = indptr[begin + r], indptr[begin + r + 1]
            diagonal[r] = first + np.searchsorted(indices[first:last], begin + r)
        starts = indptr[begin : begin + n]
        _gather(starts, diagonal[:n], indices, values, ones[:n], scale, x, one, sums[:n], True)
        for r in range(n):
            i = begin + r
            own = np.float64(scale[i])
            cross = 0.0
            for k in range(d):
                cross += sums[r, k] * x[i, k]
            total += 2.0 * own * cross
            below = diagonal[r]
            if below < indptr[i + 1] and indices[below] == i:
                square = 0.0
                for k in range(d):
                    square += x[i, k] * x[i, k]
                loop = values[below] if weighted else one
                total += own * own * loop * square
    return total


@njit(nogil=True, cache=True)
def frobenius_rows(indptr, indices, values, inverse_degree, lo, hi):
    """Share of rows ``lo..hi`` in ||D^-1/2 A D^-1/2||_F^2 = sum a_ij^2 / (d_i d_j)."""
    weighted = values.shape[0] > 0
    total = 0.0
    for i in range(lo, hi):
        row = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            if weighted:
                a = np.float64(values[p])
                row += a * a * inverse_degree[indices[p]]
            else:
                row += inverse_degree[indices[p]]
        total += row * inverse_degree[i]
    return total


@njit(nogil=True, cache=True)
def degree_rows(indptr, indices, values, degree, lo, hi):
    """Write the (weighted) degree of rows ``lo..hi``."""
    weighted = values.shape[0] > 0
    for i in range(lo, hi):
        if weighted:
            total = 0.0
            for p in range(indptr[i], indptr[i + 1]):
                total += values[p]
            degree[i] = total
        else:
            degree[i] = indptr[i + 1] - indptr[i]


@njit(nogil=True, cache=True)
def asymmetric_rows(indptr, indices, values, lo, hi):
    """Number of entries of rows ``lo..hi`` whose mirror image is missing or differs (columns sorted)."""
    weighted = values.shape[0] > 0
    bad = 0
    for i in range(lo, hi):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            start, stop = indptr[j], indptr[j + 1]
            low, high = start, stop
            while low < high:
                middle = (low + high) // 2
                if indices[middle] < i:
                    low = middle + 1
                else:
                    high = middle
            if low == stop or indices[low] != i or (weighted and values[low] != values[p]):
                bad += 1
    return bad


@njit(nogil=True, cache=True, fastmath=FAST)
def normalise_rows(x, norms, lo, hi):
    """Scale rows ``lo..hi`` to unit length in place and write their former lengths; zero rows stay."""
    d = x.shape[1]
    for i in range(lo, hi):
        square = 0.0
        for k in range(d):
            square += np.float64(x[i, k]) * np.float64(x[i, k])
        norm = np.sqrt(square)
        norms[i] = norm
        if norm > 0.0:
            factor = x.dtype.type(1.0 / norm)
            for k in range(d):
                x[i, k] *= factor


@njit(nogil=True, cache=True, inline="always")
def _mix(value):
    """SplitMix64's finaliser: 64 well-mixed bits of an integer."""
    z = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True)
def hash_rows(indptr, indices, closed, hashes, lo, hi):
    """Hash of each row's set of columns; ``closed`` adds the row's own index where it is missing."""
    for i in range(lo, hi):
        total = np.uint64(0)
        own = False
        for p in range(indptr[i], indptr[i + 1]):
            total += _mix(np.uint64(indices[p]))
            own = own or indices[p] == i
        if closed and not own:
            total += _mix(np.uint64(i))
        hashes[i] = total


@njit(nogil=True, cache=True)
def same_rows(indptr, indices, closed, representative, lo, hi):
    """Number of rows in ``lo..hi`` whose set of columns is not that of their representative."""
    bad = 0
    for i in range(lo, hi):
        r = representative[i]
        if r == i:
            continue
        p, p_end = indptr[i], indptr[i + 1]
        q, q_end = indptr[r], indptr[r + 1]
        i_done = not closed  # whether the row's own index still has to be slipped in
        r_done = not closed
        while True:
            a = np.int64(indices[p]) if p < p_end else np.int64(9223372036854775807)
            if not i_done and i <= a:
                if a == i and p < p_end:
                    p += 1
                a = np.int64(i)
                i_done = True
            elif p < p_end:
                p += 1
            b = np.int64(indices[q]) if q < q_end else np.int64(9223372036854775807)
            if not r_done and r <= b:
                if b == r and q < q_end:
                    q += 1
                b = np.int64(r)
                r_done = True
            elif q < q_end:
                q += 1
            if a != b:
                bad += 1
                break
            if a == 9223372036854775807:
                break
    return bad


@njit(nogil=True, cache=True, fastmath=FAST)
def add_diagonal_rows(diagonal, scale, x, coef, out, lo, hi):
    """``out_i += coef scale_i^2 diagonal_i x_i``."""
    d = x.shape[1]
    for i in range(lo, hi):
        c = coef * scale[i] * scale[i] * diagonal[i]
        if c != 0:
            for k in range(d):
                out[i, k] += c * x[i, k]


@njit(nogil=True, cache=True)
def sketch_rows(indptr, indices, values, inverse_root, seed, out, lo, hi):
    """CountSketch of the normalised incidence: every edge falls into one bucket with a random sign.

    The bucket and the sign are a hash of the edge's two ends, so both ends agree without talking.
    """
    buckets = np.uint64(out.shape[1])
    weighted = values.shape[0] > 0
    for i in range(lo, hi):
        for p in range(indptr[i], indptr[i + 1]):
            j = np.int64(indices[p])
            if j == i:
                continue  # a self-loop has no gradient
            low, high = (i, j) if i < j else (j, i)
            code = _mix(_mix(np.uint64(low) + seed) ^ np.uint64(high))
            sign = 1.0 if code & np.uint64(1) else -1.0
            if i == high:
                sign = -sign  # the edge points from its lower to its higher end
            weight = np.sqrt(np.float64(values[p])) if weighted else 1.0
            out[i, np.int64((code >> np.uint64(1)) % buckets)] += sign * weight * inverse_root[i]


@njit(nogil=True, cache=True)
def within_rows(indptr, indices, values, labels, lo, hi):
    """Total weight of the entries of rows ``lo..hi``, off the diagonal, whose two ends share a label."""
    weighted = values.shape[0] > 0
    total = 0.0
    for i in range(lo, hi):
        own = labels[i]
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            if j != i and labels[j] == own:
                total += values[p] if weighted else 1.0
    return total
