"""What a list is worth: accuracy, and what accuracy does not see. RecTools' definitions,
tested against its numbers (tests/unit/test_evaluation_metrics.py).

Every function gives one number an event, so that slices and intervals are means of it;
coverage alone is one number of a whole run.

Legend:  E = events (one target each),  K = places of a list,  I = items,  G = categories
"""

import numpy as np
import numpy.typing as npt

from evaluation.recorded import Bools, Floats, Ints

Values = npt.NDArray[np.float64]


def hit(rank_E: npt.NDArray[np.integer], k: int) -> Values:
    """1 where the target stands among the first `k` places. `rank_E` from 1; 0: nowhere."""
    return ((rank_E > 0) & (rank_E <= k)).astype(np.float64)


def ndcg(rank_E: npt.NDArray[np.integer], k: int) -> Values:
    """1 / log2(rank + 1) among the first `k` places (Järvelin, Kekäläinen 2002): with one
    target the ideal is 1 (RecTools: NDCG with divide_by_achievable)."""
    found_E = hit(rank_E, k) > 0
    gain_E = 1 / np.log2(np.maximum(rank_E, 1) + 1.0)
    return np.where(found_E, gain_E, 0.0)


def coverage(list_EK: npt.NDArray[np.integer], items: int) -> float:
    """Share of the catalogue that stood in any list (RecTools: CatalogCoverage, normalised)."""
    return len(np.unique(list_EK[list_EK >= 0])) / items


def diversity(list_EK: npt.NDArray[np.integer], distance_II: Floats) -> Values:
    """Mean distance of the pairs of a list (Ziegler et al. 2005; RecTools:
    IntraListDiversity). NaN for a list of fewer than two. `distance_II`: see `cosine_distance`,
    `hamming_distance`."""
    value_E = np.full(len(list_EK), np.nan)
    for n, row_K in enumerate(list_EK):
        listed = row_K[row_K >= 0]
        size = len(listed)
        if size > 1:
            # The diagonal is 0 and each pair stands twice.
            value_E[n] = distance_II[np.ix_(listed, listed)].sum(dtype=np.float64) / (
                size * (size - 1)
            )
    return value_E


def cosine_distance(vector_IW: Floats) -> Floats:
    """1 - cosine of each pair, I x I; 0 to itself; 1 to an item without a vector."""
    length_I = np.linalg.norm(vector_IW, axis=1, keepdims=True)
    unit_IW = vector_IW / np.maximum(length_I, 1e-12)
    distance_II = 1 - unit_IW @ unit_IW.T
    np.fill_diagonal(distance_II, 0)
    return np.asarray(distance_II, np.float32)


def hamming_distance(has_IG: Floats) -> Floats:
    """In how many categories each pair differs, I x I."""
    has_IG = (has_IG > 0).astype(np.float32)
    total_I = has_IG.sum(axis=1)
    distance_II = total_I[:, None] + total_I[None, :] - 2 * has_IG @ has_IG.T
    return np.asarray(distance_II, np.float32)


def novelty(list_EK: npt.NDArray[np.integer], people_I: Ints, people: int) -> Values:
    """Mean self-information of a list in bits: -log2 of the share of `people` who touched the
    item in the history (Zhou et al. 2010; RecTools: MeanInvUserFreq). An item that nobody
    touched counts as touched by one."""
    bits_I = -np.log2(np.maximum(people_I, 1) / people)
    return mean_over(list_EK, bits_I)


def popularity(list_EK: npt.NDArray[np.integer], count_I: Ints) -> Values:
    """Mean number of the history's events of a list's items (RecTools: AvgRecPopularity)."""
    return mean_over(list_EK, count_I.astype(np.float64))


def popularity_lift(listed_E: Values, profile_E: Values) -> Values:
    """(popularity of the list - of the profile) / of the profile (Abdollahpouri et al. 2019):
    above 0 the list is more mainstream than its reader. NaN without a profile."""
    with np.errstate(divide="ignore", invalid="ignore"):
        lift_E = (listed_E - profile_E) / profile_E
    return np.where(profile_E > 0, lift_E, np.nan)


def calibration(listed_EG: Values, profile_EG: Values, *, alpha: float = 0.01) -> Values:
    """KL(profile || list) over categories (Steck 2018), the list's shares smoothed by `alpha`
    of the profile's; 0: the list has the mix of its reader. Rows are shares that sum to 1; NaN
    where a row is empty."""
    smooth_EG = (1 - alpha) * listed_EG + alpha * profile_EG
    with np.errstate(divide="ignore", invalid="ignore"):
        part_EG = np.where(profile_EG > 0, profile_EG * np.log(profile_EG / smooth_EG), 0)
    empty_E = (listed_EG.sum(axis=1) == 0) | (profile_EG.sum(axis=1) == 0)
    return np.asarray(np.where(empty_E, np.nan, part_EG.sum(axis=1)))


def shares(has_IG: Floats) -> Values:
    """I x G: an item's weight of 1, spread evenly over its categories; 0 without any."""
    total_I = has_IG.sum(axis=1, keepdims=True)
    return np.asarray(has_IG / np.maximum(total_I, 1), np.float64)


def category_mix(list_EK: npt.NDArray[np.integer], share_IG: Values) -> Values:
    """E x G: the categories of each list, as shares that sum to 1 (0 if it has none)."""
    padded_IG = np.vstack([share_IG, np.zeros(share_IG.shape[1])])  # -1 is the empty row
    mix_EG: Values = np.zeros((len(list_EK), share_IG.shape[1]))
    for place in range(list_EK.shape[1]):
        mix_EG += padded_IG[list_EK[:, place]]
    total_E1 = np.maximum(mix_EG.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray(mix_EG / total_E1)


def mean_over(list_EK: npt.NDArray[np.integer], value_I: Values) -> Values:
    """The mean of an item's value over each list; NaN for an empty list."""
    present_EK: Bools = list_EK >= 0
    value_EK = np.where(present_EK, value_I[np.where(present_EK, list_EK, 0)], 0)
    size_E = present_EK.sum(axis=1)
    mean_E: Values = np.where(
        size_E > 0, value_EK.sum(axis=1) / np.maximum(size_E, 1), np.nan
    )
    return mean_E
