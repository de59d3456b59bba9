"""Compiled loops: balanced label propagation and the sparse bookkeeping around it.

Imported at the first fit, never by ``import baco``: numba alone takes a second to load. Every kernel releases
the GIL and works on a range of nodes, so `_solver.blocks` can run ranges on threads. Floating point keeps the
written order (no ``fastmath``, hence no fused multiply-add), which makes each kernel equal, bit for bit, to its
twin in `_solver.reference`.

Conventions: labels live in ``[0, n_users + n_items)``. ``mass`` is a node's balance weight before normalisation
and ``volume[l]`` the summed mass of the *other* side's nodes that hold label ``l``; ``scale`` collects resolution
and normalisation, so a label's score is ``inside - (scale * mass) * volume[label]``. An empty ``edge_weights``
means that every edge weighs 1.
"""

# numba needs real types at run time in a few places and gains nothing from annotations elsewhere.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import numpy as np
from numba import njit

# Fibonacci hashing: the top bits of label * 2^64/phi spread consecutive labels over a small table.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
# Up to so many labels one array over all of them (2 MB) stays in the second-level cache and beats a hash table.
_DENSE_LABELS = 1 << 18


@njit(cache=True, nogil=True)
def _scratch(indptr, start, stop, n_labels):
    """Room for one node's candidates, for the nodes ``start..stop``: (sums, keys, used, found).

    ``keys`` is empty where ``sums`` has a place for every label.
    """
    largest = 1
    for node in range(start, stop):
        largest = max(largest, indptr[node + 1] - indptr[node])
    if n_labels <= _DENSE_LABELS:
        keys = np.empty(0, np.int64)
        sums = np.zeros(n_labels, np.float64)
    else:
        keys = np.full(1 << _table_bits(largest), -1, np.int64)
        sums = np.empty(keys.size, np.float64)
    used = np.empty(largest, np.int64)
    found = np.empty(largest, np.int64)
    return sums, keys, used, found


@njit(cache=True, nogil=True)
def _table_bits(degree):
    """Bits of a table that holds ``degree`` labels at most half full."""
    bits = 3
    while (1 << bits) < 2 * degree:
        bits += 1
    return bits


@njit(cache=True, nogil=True, inline="always")
def _candidates(neighbour_labels, begin, degree, neighbours, edge_weights, sums, keys, used, found):
    """Distinct labels of a node's neighbours and the edge weight into each; returns how many there are.

    ``used`` lists their slots by first appearance; slot s holds the weight ``sums[s]`` and the label ``keys[s]``, or
    s itself where ``keys`` is empty. The caller empties the slots. Inlined: called once a node, it would cost as
    much as it does.
    """
    weighted = edge_weights.size > 0
    n_used = 0
    if keys.size == 0:
        for k in range(degree):
            label = neighbour_labels[neighbours[begin + k]]
            total = sums[label]
            # written always, counted when new: no branch to mispredict
            used[n_used] = label
            n_used += total == 0.0
            sums[label] = total + (edge_weights[begin + k] if weighted else 1.0)
        return n_used
    # A loop that only gathers keeps many cache misses in flight; mixed with the table it would stall.
    for k in range(degree):
        found[k] = neighbour_labels[neighbours[begin + k]]
    bits = _table_bits(degree)
    shift = np.uint64(64 - bits)
    last = np.int64((1 << bits) - 1)
    for k in range(degree):
        label = found[k]
        weight = edge_weights[begin + k] if weighted else 1.0
        slot = np.int64((np.uint64(label) * _SPREAD) >> shift)
        while keys[slot] != label and keys[slot] != -1:
            slot = (slot + 1) & last
        if keys[slot] == -1:
            keys[slot] = label
            sums[slot] = weight
            used[n_used] = slot
            n_used += 1
        else:
            sums[slot] += weight
    return n_used


@njit(cache=True, nogil=True)
def propose(indptr, indices, edge_weights, mass, scale, own, other, volume, keepers, stay, target, gain, start, stop):
    """Best neighbouring label of nodes ``start..stop``; fills ``target`` and ``gain``.

    Only the other side's labels and volumes are read, so the nodes of one side do not influence each other:
    any split over threads proposes what one node after the other would. Ties: the current label if it is among
    the best, else the smallest. A node with ``keepers[label] == node`` keeps its label (an empty ``keepers``
    binds nobody). Returns the number of moves and the edge weight inside clusters once all of them are made.
    """
    sums, keys, used, found = _scratch(indptr, start, stop, volume.size)
    dense = keys.size == 0
    moves = 0
    inside = 0.0
    for node in range(start, stop):
        begin = indptr[node]
        degree = indptr[node + 1] - begin
        current = np.int64(own[node])
        target[node] = current
        gain[node] = 0.0
        if degree == 0:
            continue
        n_labels = _candidates(other, begin, degree, indices, edge_weights, sums, keys, used, found)
        factor = scale * mass[node]
        best = np.int64(-1)
        best_score = -np.inf
        best_inside = 0.0
        own_inside = 0.0
        for k in range(n_labels):
            slot = used[k]
            total = sums[slot]
            if dense:
                label = slot
                sums[slot] = 0.0
            else:
                label = keys[slot]
                keys[slot] = -1
            if label == current:
                own_inside = total
            score = total - factor * volume[label]
            if score > best_score or (score == best_score and label < best):
                best_score = score
                best_inside = total
                best = label
        own_score = own_inside - factor * volume[current]
        bound = keepers.size > 0 and keepers[current] == node
        # where the own label is a candidate, a tie is no reason to leave it, with or without `stay`
        better = best_score > own_score or (not stay and own_inside == 0.0)
        if bound or not better:
            inside += own_inside
            continue
        target[node] = best
        gain[node] = best_score - own_score
        moves += 1
        inside += best_inside
    return moves, inside


@njit(cache=True, nogil=True)
def apply_until(order, own, target, counts, rows, budget):
    """Make the proposed moves in ``order`` until at most ``budget`` rows are left; returns (rows, moves)."""
    moves = 0
    for node in order:
        if rows <= budget:
            break
        old = own[node]
        new = target[node]
        counts[old] -= 1
        if counts[old] == 0:
            rows -= 1
        if counts[new] == 0:
            rows += 1
        counts[new] += 1
        own[node] = new
        moves += 1
    return rows, moves


@njit(cache=True, nogil=True)
def sequential_sweep(
    order,
    n_users,
    user_ptr,
    user_items,
    user_weights,
    item_ptr,
    item_users,
    item_weights,
    mass,
    scale,
    labels,
    user_volume,
    item_volume,
    counts,
    rows,
    budget,
    stay,
):
    """One asynchronous sweep over all nodes in ``order``, each move seen by the next node.

    ``labels`` and ``mass`` hold users first, then items; ``user_volume``/``item_volume`` are updated in place
    (their type sets the precision of the accumulators), ``counts[l, side]`` too. Stops within the sweep once
    ``rows <= budget``. Returns (rows, moves).
    """
    # one scratch for both sides, as large as the heaviest node asks
    user_room = _scratch(user_ptr, 0, n_users, user_volume.size)
    item_room = _scratch(item_ptr, 0, item_ptr.size - 1, user_volume.size)
    sums, keys, used, found = user_room if user_room[2].size > item_room[2].size else item_room
    dense = keys.size == 0
    user_labels = labels[:n_users]
    item_labels = labels[n_users:]
    moves = 0
    for node in order:
        if rows <= budget:
            break
        if node < n_users:
            side = 0
            begin = user_ptr[node]
            degree = user_ptr[node + 1] - begin
            other, neighbours, weights = item_labels, user_items, user_weights
        else:
            side = 1
            begin = item_ptr[node - n_users]
            degree = item_ptr[node - n_users + 1] - begin
            other, neighbours, weights = user_labels, item_users, item_weights
        n_labels = _candidates(other, begin, degree, neighbours, weights, sums, keys, used, found)
        if n_labels == 0:
            continue
        volume = item_volume if side == 0 else user_volume
        current = np.int64(labels[node])
        factor = scale * mass[node]
        best = np.int64(-1)
        best_score = -np.inf
        own_inside = 0.0
        for k in range(n_labels):
            slot = used[k]
            total = sums[slot]
            if dense:
                label = slot
                sums[slot] = 0.0
            else:
                label = keys[slot]
                keys[slot] = -1
            if label == current:
                own_inside = total
            score = total - factor * volume[label]
            if score > best_score or (score == best_score and label < best):
                best_score = score
                best = label
        own_score = own_inside - factor * volume[current]
        if not (best_score > own_score or (not stay and own_inside == 0.0)):
            continue
        moved_volume = user_volume if side == 0 else item_volume
        moved_volume[current] -= mass[node]
        moved_volume[best] += mass[node]
        counts[current, side] -= 1
        if counts[current, side] == 0:
            rows -= 1
        if counts[best, side] == 0:
            rows += 1
        counts[best, side] += 1
        labels[node] = best
        moves += 1
    return rows, moves


@njit(cache=True, nogil=True)
def further_labels(indptr, indices, edge_weights, mass, scale, own, other, volume, held, chosen, start, stop):
    """The best labels of a node besides its own, best first, into ``chosen[node]``; ``-1`` where none is left.

    Candidates are the labels of the node's neighbours that some node of its own side holds (``held``). Ties:
    the smallest label.
    """
    sums, keys, used, found = _scratch(indptr, start, stop, volume.size)
    dense = keys.size == 0
    for node in range(start, stop):
        begin = indptr[node]
        degree = indptr[node + 1] - begin
        chosen[node, :] = -1
        n_labels = _candidates(other, begin, degree, indices, edge_weights, sums, keys, used, found)
        factor = scale * mass[node]
        for rank in range(chosen.shape[1]):
            best = np.int64(-1)
            best_score = -np.inf
            for k in range(n_labels):
                slot = used[k]
                label = slot if dense else keys[slot]
                if label == own[node] or not held[label]:
                    continue
                taken = False
                for earlier in range(rank):
                    taken = taken or chosen[node, earlier] == label
                if taken:
                    continue
                score = sums[slot] - factor * volume[label]
                if score > best_score or (score == best_score and label < best):
                    best_score = score
                    best = label
            chosen[node, rank] = best
        for k in range(n_labels):
            if dense:
                sums[used[k]] = 0.0
            else:
                keys[used[k]] = -1


@njit(cache=True, nogil=True)
def inside_weight(indptr, indices, edge_weights, own, other, start, stop):
    """Edge weight between nodes ``start..stop`` and neighbours that hold the same label."""
    total = 0.0
    weighted = edge_weights.size > 0
    for node in range(start, stop):
        label = own[node]
        for e in range(indptr[node], indptr[node + 1]):
            if other[indices[e]] == label:
                total += edge_weights[e] if weighted else 1.0
    return total


@njit(cache=True, nogil=True)
def best_partners(indptr, indices, weights, user_volume, item_volume, partner, level, stale):
    """Of each stale cluster the neighbour whose merger pays at the highest resolution, and that resolution.

    Merging a and b gains ``L_ab - scale (U_a V_b + U_b V_a)``, which is positive up to the scale
    ``L_ab / (U_a V_b + U_b V_a)``. Ties: the pair with the smaller ids, so that partners agree. Writes ``partner``
    (-1 where there is none) and ``level``.
    """
    for a in range(indptr.size - 1):
        if not stale[a]:
            continue
        partner[a] = -1
        level[a] = 0.0
        for e in range(indptr[a], indptr[a + 1]):
            b = np.int64(indices[e])
            if b == a or not weights[e] > 0.0:
                continue
            cost = user_volume[a] * item_volume[b] + user_volume[b] * item_volume[a]
            value = weights[e] / cost if cost > 0.0 else np.inf
            if value > level[a]:
                level[a] = value
                partner[a] = b
            elif value == level[a] and partner[a] >= 0:
                p = partner[a]
                if min(a, b) < min(a, p) or (min(a, b) == min(a, p) and max(a, b) < max(a, p)):
                    partner[a] = b


@njit(cache=True, nogil=True)
def contract(indptr, indices, weights, group, members, starts):
    """Links between groups of clusters, without those inside a group: compressed rows, unsorted.

    ``group[c]`` is the group of cluster c; the clusters of group g are ``members[starts[g]:starts[g + 1]]``.
    """
    n = starts.size - 1
    pointer = np.zeros(n + 1, np.int64)
    columns = np.empty(indices.size, np.int64)
    values = np.empty(indices.size, np.float64)
    place = np.full(n, -1, np.int64)  # where the row at hand has its link to a group
    end = 0
    for g in range(n):
        first = end
        for m in range(starts[g], starts[g + 1]):
            for e in range(indptr[members[m]], indptr[members[m] + 1]):
                other = group[indices[e]]
                if other == g:
                    continue
                if place[other] < first:
                    place[other] = end
                    columns[end] = other
                    values[end] = weights[e]
                    end += 1
                else:
                    values[place[other]] += weights[e]
        pointer[g + 1] = end
    return pointer, columns[:end], values[:end]


@njit(cache=True, nogil=True)
def counting_transpose(n_columns, indptr, indices, weights):
    """Compressed columns of compressed rows in two passes, without sorting; row ids come out ascending."""
    n_rows = indptr.size - 1
    pointer = np.zeros(n_columns + 1, np.int64)
    for e in range(indices.size):
        pointer[indices[e] + 1] += 1
    for column in range(n_columns):
        pointer[column + 1] += pointer[column]
    fill = pointer[:-1].copy()
    rows = np.empty(indices.size, indices.dtype)
    values = np.empty(weights.size, weights.dtype)
    for row in range(n_rows):
        for e in range(indptr[row], indptr[row + 1]):
            position = fill[indices[e]]
            fill[indices[e]] = position + 1
            rows[position] = row
            if weights.size > 0:
                values[position] = weights[e]
    return pointer, rows, values


@njit(cache=True, nogil=True)
def gather_columns(indptr, indices, weights, start, stop, fill, rows, values):
    """The columns ``start..stop`` of compressed rows, each from its place ``fill[column - start]`` on."""
    for row in range(indptr.size - 1):
        for e in range(indptr[row], indptr[row + 1]):
            column = indices[e]
            if column >= start and column < stop:
                position = fill[column - start]
                fill[column - start] = position + 1
                rows[position] = row
                if weights.size > 0:
                    values[position] = weights[e]


@njit(cache=True, nogil=True)
def compress_rows(n_rows, rows, columns, weights, index_zero):
    """Compressed rows of an edge list; the order within a row is that of the list."""
    pointer = np.zeros(n_rows + 1, np.int64)
    for e in range(rows.size):
        pointer[rows[e] + 1] += 1
    for row in range(n_rows):
        pointer[row + 1] += pointer[row]
    fill = pointer[:-1].copy()
    indices = np.empty(rows.size, index_zero.dtype)
    values = np.empty(weights.size, weights.dtype)
    for e in range(rows.size):
        position = fill[rows[e]]
        fill[rows[e]] = position + 1
        indices[position] = columns[e]
        if weights.size > 0:
            values[position] = weights[e]
    return pointer, indices, values


@njit(cache=True, nogil=True)
def merge_duplicates(indptr, indices, weights):
    """Fold equal neighbours of each sorted row in place (weights add up); returns the new pointers.

    Zero-weight edges are dropped. The first ``new_indptr[-1]`` entries are the result.
    """
    n_rows = indptr.size - 1
    pointer = np.zeros(n_rows + 1, np.int64)
    out = 0
    weighted = weights.size > 0
    for row in range(n_rows):
        first = out
        for e in range(indptr[row], indptr[row + 1]):
            if weighted and weights[e] == 0.0:
                continue
            if out > first and indices[out - 1] == indices[e]:
                if weighted:
                    weights[out - 1] += weights[e]
            else:
                indices[out] = indices[e]
                if weighted:
                    weights[out] = weights[e]
                out += 1
        pointer[row + 1] = out
    return pointer


@njit(cache=True, nogil=True)
def rows_are_sorted(indptr, indices):
    """0: every row strictly ascending; 1: ascending with repeats; 2: not ascending."""
    state = 0
    for row in range(indptr.size - 1):
        for e in range(indptr[row] + 1, indptr[row + 1]):
            if indices[e] < indices[e - 1]:
                return 2
            if indices[e] == indices[e - 1]:
                state = 1
    return state
