"""Each baseline on a log whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation.baselines.content import Content, text_of, unit
from evaluation.baselines.covisitation import CoVisitation
from evaluation.baselines.ease import Ease
from evaluation.baselines.factors import Als, Bpr
from evaluation.baselines.logit import Logit, derived, learnt
from evaluation.baselines.neighbours import ItemKnn
from evaluation.baselines.sasrec import SasRec, first_places
from evaluation.baselines.scorer import Profiles, Ranked, Scorer, top
from evaluation.baselines.simple import Chance, Popularity
from evaluation.protocol import Split, run
from evaluation.recorded import Event
from evaluation.registry import RECOMMENDERS, described
from schemas import Item
from tests.support.recorded import chains, log_of
from workers.terminal import CommandError

PEERS = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
EYE = np.eye(12, dtype=np.float32)


def hits_at_1(scorer: Scorer, *, seen: int = 300, people: int = 80) -> float:
    """How often what is listed first comes next, on chains, from the third step on."""
    log = chains(people)
    outcome = run(Ranked("x", scorer), log, Split(seen, len(log) - seen))
    late_E = np.arange(seen, len(log)) % 6 >= 2
    return float((outcome.rank_E[late_E] == 1).mean())


@pytest.mark.parametrize(
    ("make", "at_least"),
    [
        pytest.param(lambda: CoVisitation(back=0.1), 0.9, id="co-visitation"),
        pytest.param(lambda: SasRec(width=16, epochs=20, batch=8, dropout=0.0), 0.7, id="sasrec"),
        # These don't know which way a chain runs: one of the two ends is a coin's toss.
        pytest.param(lambda: ItemKnn(recency=0.5), 0.3, id="item-knn"),
        pytest.param(lambda: Ease(l2=1, recency=0.5, lag=0.7), 0.4, id="ease"),
    ],
)  # fmt: skip
def test_what_follows_what_is_learnt(make: Callable[[], Scorer], at_least: float) -> None:
    assert hits_at_1(make()) >= at_least
    assert hits_at_1(Popularity()) < 0.3


def test_a_logit_leans_on_the_part_that_knows() -> None:
    logit = Logit(CoVisitation(back=0.1), Popularity(), Content(EYE), learn=100)
    assert hits_at_1(logit) >= 0.8
    assert logit.weight_F[:8].sum() > abs(logit.weight_F[8])


def test_a_logit_learns_anew_from_its_newest_choices_unless_told_not_to() -> None:
    log = chains(20)
    weights = []
    for refit in (0, 20):
        logit = Logit(
            CoVisitation(), Popularity(), Content(EYE), learn=50, refit=refit, ridge=1e-2
        )
        logit.fit(log.head(80))
        before_F = logit.weight_F
        for row in range(80, len(log)):
            logit.apply(log.event(row))
        weights.append((before_F, logit.weight_F))
    (still_F, same_F), (start_F, end_F) = weights
    assert np.array_equal(still_F, same_F)
    assert np.array_equal(still_F, start_F)
    assert not np.allclose(start_F, end_F)


def test_choices_teach_the_weights_that_they_were_made_by() -> None:
    chance = np.random.default_rng(0)
    true_F = np.array([1.0, -2.0, 0.0])
    choices = []
    for _ in range(2000):
        feature_CF = chance.normal(size=(9, 3))
        chosen = int((feature_CF @ true_F + chance.gumbel(size=9)).argmax())
        order = [chosen, *(n for n in range(9) if n != chosen)]
        choices.append(feature_CF[order].astype(np.float16))
    found_F = learnt(choices, ridge=1e-6)
    assert found_F == pytest.approx(true_F, abs=0.15)
    assert learnt(choices, ridge=1e-6, start_F=found_F) == pytest.approx(found_F, abs=1e-2)
    _, slope_F, curve_FF = derived(choices, found_F, np.ones(3), ridge=1e-6)
    assert slope_F == pytest.approx(np.zeros(3), abs=1e-2)
    assert (np.linalg.eigvalsh(curve_FF) > 0).all()


def test_a_lift_is_of_what_comes_together_more_often_than_by_chance() -> None:
    log = log_of([(u, i) for u, items in enumerate(["AB"] * 9 + ["C"] * 9) for i in items] +
                 [(99, "A")], "ABC")  # fmt: skip
    together = CoVisitation()
    together.fit(log)
    newest_NI = together.lifts(log.event(len(log) - 1).user, 0, 5)
    assert newest_NI.shape == (1, 3)
    assert newest_NI[0, 1] > 0 > newest_NI[0, 2]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Als(factors=8, l2=1, peers=PEERS), id="als"),
        pytest.param(lambda: Bpr(factors=8, iterations=50, peers=PEERS), id="bpr"),
    ],
)
def test_factors_of_the_peers_beat_chance(make: Callable[[], Scorer]) -> None:
    if not PEERS.exists():
        pytest.skip("no .venv-peers: `make peers` makes it")
    assert hits_at_1(make()) > hits_at_1(Chance()) + 0.1


def test_sasrec_foretells_each_event_once_an_epoch_and_bars_what_was_touched() -> None:
    log = chains(10)
    net = SasRec(width=8, length=4, epochs=1)
    net.fit(log)
    windows = net._windows(0)
    events = int((log.user_E == 0).sum())
    assert sum(w.targets for w in windows) == events > 4
    first_BI = first_places(windows, len(log.items) + 2)
    for window, first_I in zip(windows, first_BI, strict=True):
        assert (first_I[window.past] == -1).all()
        targets = window.item_L[-window.targets :]
        assert not set(targets) & set(window.past)


def test_factors_without_peers_say_what_to_do() -> None:
    with pytest.raises(CommandError, match="make peers"):
        Als(peers=Path("nowhere/python")).fit(chains(3))


def test_online_popularity_forgets_and_frozen_stands_still() -> None:
    log = log_of([("a", "A"), ("b", "A"), ("c", "B"), ("d", "B"), ("e", "B")], "AB")
    frozen, live = Popularity(online=False), Popularity(half_life=1)
    for scorer in (frozen, live):
        scorer.fit(log.head(2))
        for row in (2, 3, 4):
            scorer.apply(log.event(row))
    assert frozen.score(0, 0).tolist() == [2, 0]
    assert live.score(0, 0).tolist() == pytest.approx([1 / 8 + 1 / 16, 1 + 1 / 2 + 1 / 4])


def test_item_knn_is_the_cosine_by_hand() -> None:
    log = log_of(
        [("a", "A"), ("a", "B"), ("b", "A"), ("b", "B"), ("c", "A"), ("d", "B")], "AB"
    )
    knn = ItemKnn(shrink=0)
    knn.fit(log)
    # A and B have 3 touches each, 2 people in common.
    assert knn.score(2, 0)[1] == pytest.approx(2 / 3, abs=1e-6)


def test_ease_is_stecks_closed_form() -> None:
    log = log_of(
        [(u, i) for u, items in enumerate(["AB", "AB", "BC"]) for i in items], "ABC"
    )
    ease = Ease(l2=2.0)
    ease.fit(log)
    touched_UI = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1]])
    inverse = np.linalg.inv(touched_UI.T @ touched_UI + 2 * np.eye(3))
    expected = -inverse / np.diag(inverse)
    assert ease.score(0, 0)[2] == pytest.approx(expected[0, 2] + expected[1, 2], abs=1e-5)


def test_text_lists_what_reads_alike() -> None:
    log = log_of([("u", "A")], "ABC")
    vectors = unit(np.array([[1, 0.1], [1, 0], [0, 1]], np.float32))
    content = Content(vectors)
    content.fit(log)
    assert top(content.score(0, 0), 2, exclude=np.array([0])).tolist() == [1, 2]


def test_a_film_is_read_with_its_year() -> None:
    film = Item(item_id="f", title="Heat", categories=["Crime"], attributes={"year": 1995})
    assert text_of(film) == "Heat (1995). Crime"
    assert text_of(Item(item_id="f")) == "f"


def test_equal_scores_stand_in_the_catalogues_order() -> None:
    assert top(np.array([1.0, 2, 1, 1]), 3, exclude=np.array([0])).tolist() == [1, 2, 3]
    assert top(np.array([1.0, 2]), 9, exclude=np.array([1])).tolist() == [0]


def test_a_profile_of_some_age_does_not_know_what_is_younger() -> None:
    profiles = Profiles(age_ms=10)
    for item, at_ms in ((1, 0), (2, 5), (3, 9)):
        profiles.add(Event(0, item, 1.0, at_ms, True, 0))
    assert profiles.known(0, 15, limit=9) == [2, 1]
    assert profiles.newest(0, 9) == [3, 2, 1]


def test_decay_does_not_overflow() -> None:
    log = log_of([("u", item) for item in "AB" * 200], "AB")
    for scorer in (
        CoVisitation(half_life=1),
        ItemKnn(half_life=1),
        Popularity(half_life=1),
    ):
        scorer.fit(log)
        assert np.isfinite(scorer.score(0, 0)).all()


def test_every_entry_says_what_it_is() -> None:
    assert all(entry.family and entry.about for entry in RECOMMENDERS.values())
    assert "half_life=5" in described(Popularity(half_life=5))
