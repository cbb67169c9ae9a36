"""The item matrix on an accelerator answers as the one on the CPU does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ranking.index import NEVER_MS, Ask, IndexedItem
from ranking.resident import ResidentIndex

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


@pytest.mark.parametrize("half", [False, True])
def test_lists_are_those_of_the_cpu(half: bool) -> None:
    chance = np.random.default_rng(0)
    names = np.unique(chance.integers(1, 2**64 - 1, 5000, dtype=np.uint64))
    vector_ND = chance.standard_normal((len(names), 64)).astype(np.float32)
    vector_ND /= np.linalg.norm(vector_ND, axis=1, keepdims=True)
    items = [
        IndexedItem(
            hash=name,
            vector=vector_ND[n],
            categories=frozenset({"books" if n % 2 else "film"}),
            available=n % 7 > 0,
            expires_at_ms=NEVER_MS if n % 3 else 1000 + n % 50,
        )
        for n, name in enumerate(names.tolist())
    ]
    ask = Ask(
        vector_UD=vector_ND[:200],
        as_of_ms_U=chance.integers(990, 1060, 200),
        category_U=["", "books"] * 100,
        exclude_U=[chance.choice(names, 50) for _ in range(200)],
    )
    on_cpu, on_cuda = ResidentIndex(64), ResidentIndex(64, device="cuda", half=half)
    for index in (on_cpu, on_cuda):
        index.put(items)
        index.remove(names[::11].tolist())
    expected, found = (index.search(ask, limit=10) for index in (on_cpu, on_cuda))
    tolerance = 2e-3 if half else 1e-5
    np.testing.assert_allclose(found.score_UK, expected.score_UK, atol=tolerance)
    vectors, known = on_cuda.vectors(names)
    expected_vectors, expected_known = on_cpu.vectors(names)
    np.testing.assert_allclose(vectors, expected_vectors, atol=tolerance)
    np.testing.assert_array_equal(known, expected_known)
