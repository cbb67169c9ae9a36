"""The model's thread: contents into vectors, batched by cost, while the path polls on."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import Tensor

from encoders.content import Content
from encoders.encoder import Encoder, micro_batches
from workers import metrics

Key = tuple[str, str]
"""(modality, sha256): one content is encoded once, however many records have it."""


class Model:
    """Encoders behind one thread: one batch at a time is in flight."""

    def __init__(
        self, encoders: Mapping[str, Encoder[Any]], budgets: Mapping[str, int]
    ) -> None:
        """`budgets`: what one micro-batch of a modality may cost, in the encoder's units."""
        self.encoders = encoders
        self._budgets = budgets
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    def start(self, contents: Mapping[Key, Content]) -> Future[dict[Key, Tensor]]:
        """Begin to encode; the result has one vector for each content."""
        return self._thread.submit(self._encode, dict(contents))

    def close(self) -> None:
        """Let the batch in flight come to its end."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _encode(self, contents: Mapping[Key, Content]) -> dict[Key, Tensor]:
        vectors: dict[Key, Tensor] = {}
        with metrics.stage("encode"):
            for modality in sorted({modality for modality, _ in contents}):
                keys = [key for key in contents if key[0] == modality]
                vectors |= self._encode_modality(modality, keys, contents)
                metrics.encoded(modality, len(keys))
        return vectors

    def _encode_modality(
        self, modality: str, keys: Sequence[Key], contents: Mapping[Key, Content]
    ) -> dict[Key, Tensor]:
        encoder = self.encoders[modality]
        costs = [encoder.cost(contents[key]) for key in keys]
        vectors: dict[Key, Tensor] = {}
        for rows in micro_batches(costs, budget=self._budgets[modality]):
            vector_EW = encoder.encode([contents[keys[row]] for row in rows])
            vectors |= {keys[row]: vector_EW[at] for at, row in enumerate(rows)}
        return vectors
