"""How well a tower foretells: the rank of each event's item, asked just before it.

Shapes:  E = events asked for,  B = those asked at once,  N = items,  C = content width
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.tower import scores
from encoders.tower_data import Histories, Touches, before, prefixes
from encoders.tower_model import TowerModel

_AT_ONCE = 256


def ranks(
    model: TowerModel,
    touches: Touches,
    content_NC: NDArray[np.float32] | None,
    hash_N: NDArray[np.uint64],
    *,
    begin: int,
    end: int,
    asked: bool = False,
) -> NDArray[np.int64]:
    """rank_E, from 1, of the items of events [begin, end) among those that their users had not
    touched, each by what came before it in the log; an item touched before has the rank N.
    `asked`: whether the time of asking is told, as it is when somebody visits."""
    items = model.items(hash_N, content_NC)
    histories = Histories.of(touches.part(0, end))
    placed_E = histories.place_E[begin:end]
    parts = [placed_E[low : low + _AT_ONCE] for low in range(0, len(placed_E), _AT_ONCE)]
    found = [_ranks(model, histories, items, part, asked=asked) for part in parts]
    return np.concatenate(found)


def _ranks(
    model: TowerModel,
    histories: Histories,
    items: tuple[Tensor, Tensor],
    place_B: NDArray[np.int64],
    *,
    asked: bool,
) -> NDArray[np.int64]:
    vector_NW, bias_N = items
    said = prefixes(histories, place_B, length=model.settings.length)
    mass_BN, touched_BN = before(histories, place_B, items=len(vector_NW))
    size_B = mass_BN.abs().sum(dim=1, keepdim=True).clamp_min(1e-6)
    now_B = torch.from_numpy(histories.touches.at_ms_E[place_B]) if asked else None
    target_B = torch.from_numpy(histories.touches.item_E[place_B])
    with torch.inference_mode():
        user_BKW = model.net.users(
            vector_NW, said.entries, mass_BN @ vector_NW / size_B, now_ms_U=now_B
        )
        score_BN = scores(user_BKW, vector_NW, bias_N).masked_fill(touched_BN, -torch.inf)
    own_B = score_BN.gather(1, target_B[:, None])
    rank_B = 1 + (score_BN > own_B).sum(dim=1)
    again_B = touched_BN[torch.arange(len(target_B)), target_B]
    return torch.where(again_B, len(vector_NW), rank_B).numpy()
