"""Factors of who touched what: alike where people are alike, absent where nobody was."""

import numpy as np

from encoders.factors import factors


def events():
    """Two tastes that share nothing: items 0-9 and 10-19; nobody touched item 20."""
    chance = np.random.default_rng(0)
    user_E = np.repeat(np.arange(40), 5)
    item_E = chance.integers(0, 10, 200) + 10 * (user_E % 2)
    return user_E, item_E, np.ones(200, np.float32)


def test_items_of_one_taste_are_nearer_than_items_of_two():
    unit_NR = factors(*events(), items=21, rank=8)[:20]
    unit_NR /= np.linalg.norm(unit_NR, axis=1, keepdims=True)
    cosine_NN = unit_NR @ unit_NR.T
    assert cosine_NN[:10, :10].mean() > 0.5
    assert abs(cosine_NN[:10, 10:].mean()) < 0.2


def test_an_item_that_is_cold_has_none():
    user_E, item_E, weight_E = events()
    assert not factors(user_E, item_E, weight_E, items=21)[20].any()
    often_N = np.bincount(item_E, minlength=21)
    found = factors(user_E, item_E, weight_E, items=21, least=10)
    assert (found.any(axis=1) == (often_N >= 10)).all()
    assert not factors(user_E[:0], item_E[:0], weight_E[:0], items=21).any()


def test_each_round_comes_nearer_to_the_least_error():
    user_E, item_E, weight_E = events()
    errors = []
    for rounds in (1, 2, 8):
        item_NR = factors(
            user_E, item_E, weight_E, items=21, rank=4, rounds=rounds, regularisation=0.1
        ).astype(np.float64)
        p_UN = np.zeros((40, 21))
        np.add.at(p_UN, (user_E, item_E), 1.0)
        c_UN, p_UN = 1 + 10 * p_UN, (p_UN > 0).astype(float)
        error = 0.1 * (item_NR**2).sum()
        for c_N, p_N in zip(c_UN, p_UN, strict=True):
            left = (item_NR * c_N[:, None]).T @ item_NR + 0.1 * np.eye(4)
            user_R = np.linalg.solve(left, item_NR.T @ (c_N * p_N))
            error += (c_N * (p_N - item_NR @ user_R) ** 2).sum() + 0.1 * (user_R**2).sum()
        errors.append(error)
    assert errors == sorted(errors, reverse=True)


def test_neither_the_order_nor_the_splitting_of_events_matters():
    user_E, item_E, weight_E = events()
    order_E = np.random.default_rng(1).permutation(200)
    one = factors(user_E, item_E, weight_E, items=21, rank=8)
    other = factors(user_E[order_E], item_E[order_E], weight_E, items=21, rank=8)
    halves = factors(
        np.tile(user_E, 2), np.tile(item_E, 2), np.tile(weight_E / 2, 2), items=21, rank=8
    )
    np.testing.assert_allclose(one, other, atol=1e-4)
    np.testing.assert_allclose(one, halves, atol=1e-4)
