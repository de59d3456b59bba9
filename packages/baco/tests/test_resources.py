"""Memory and compiling, counted rather than timed."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from baco import BACO
from baco._solver.blocks import edge_blocks

SECOND = """
import json, numpy as np, scipy.sparse as sp
from baco import BACO, BipartiteGraph
from baco._solver import _kernels
def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))
rng = np.random.default_rng(0)
n_users, n_items, degree = 100_000, 50_000, 25
items = (n_items * rng.random((n_users, degree)) ** 2).astype(np.int32)
items.sort(axis=1)
items = (items + np.arange(degree, dtype=np.int32)) % n_items  # distinct within a row
items.sort(axis=1)
X = sp.csr_matrix((np.ones(items.size, np.int8), items.ravel(), np.arange(0, items.size + 1, degree, dtype=np.int32)))
del items
BACO(rows=2).fit(np.ones((3, 3)))
counts = [one.stats for one in vars(_kernels).values() if hasattr(one, "stats")]
hits, misses = (sum(sum(getattr(one, name).values()) for one in counts) for name in ("cache_hits", "cache_misses"))
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
graph = BipartiteGraph.from_scipy(X)
model = BACO(gamma=0.5, secondary=None, n_jobs=2).fit(graph)
told = {"hits": hits, "misses": misses, "edges": graph.n_edges, "nodes": n_users + graph.n_items}
print(json.dumps({"peak": status("VmHWM") - before, **told}))
"""


def test_a_second_process_compiles_nothing_and_its_memory_follows_edges_and_ids():
    """At most 12 bytes per edge and 64 per id beyond the input, graph building included."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("reads the peak from Linux's /proc")
    BACO(rows=2).fit(np.ones((3, 3)))  # this process compiles, or finds compiled, what the next one needs
    done = subprocess.run([sys.executable, "-c", SECOND], check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert told["misses"] == 0
    assert told["hits"] > 0
    assert told["edges"] > 2_450_000
    assert told["peak"] <= 12 * told["edges"] + 64 * told["nodes"]


def test_threads_share_one_scratch_size():
    """A node of a million neighbours does not make every block pay for it."""
    degrees = np.concatenate([[1_000_000], np.full(50_000, 20)])
    blocks = edge_blocks(np.concatenate([[0], np.cumsum(degrees)]))
    assert blocks[0] == (0, 1)
    assert blocks[-1][1] == degrees.size
    assert all(a[1] == b[0] for a, b in itertools.pairwise(blocks))
    assert max(degrees[start:stop].sum() for start, stop in blocks[1:]) < 400_000
