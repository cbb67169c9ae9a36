"""One Qdrant collection behind the client: there before its first use, errors as fates.

The server is first talked to by the first call, so a worker starts while it is down.
Collections are made where they are missing, whoever comes first; what exists is checked.
What the server answers becomes a fate: try again (unreachable, slow, 5xx, 429, a collection
that vanished) or stop (everything else).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from workers.ports import FatalError, TransientError

Where = str | QdrantClient
"""A URL, `:memory:` or a client."""
QUERIES = 100
"""Searches a call."""


def connected(where: Where, timeout_s: float, api_key: str) -> QdrantClient:
    if not isinstance(where, str):
        return where
    if where == ":memory:":
        return QdrantClient(":memory:")
    try:
        return QdrantClient(
            url=where,
            api_key=api_key or None,
            timeout=timeout_s,  # type: ignore[arg-type]  # rounded up to seconds by the client
            check_compatibility=False,  # asks the server, and we may be starting without it
        )
    except ValueError as error:
        raise FatalError(f"{where!r}: {error}; check STREAMREC_QDRANT__URL") from error


@dataclass(slots=True)
class Collection:
    """One collection: there and right before its first use."""

    client: QdrantClient
    name: str
    vector: str
    width: int
    graph: bool
    indexes: Mapping[str, str] = field(default_factory=dict)
    checked: bool = False

    def retrieve(
        self, names: Sequence[Any], *, payload: bool | list[str], vectors: bool
    ) -> list[models.Record]:
        if not names:
            return []
        with self._fates():
            return self.client.retrieve(
                self.name,
                names,
                with_payload=payload,
                with_vectors=vectors,
                consistency=models.ReadConsistencyType.ALL,
            )

    def upsert(
        self, points: list[models.PointStruct], *, only: models.Filter | None = None
    ) -> None:
        if not points:
            return
        with self._fates():
            self.client.upsert(
                self.name,
                points,
                wait=True,
                ordering=models.WriteOrdering.STRONG,
                update_filter=only,
            )

    def delete(self, names: list[int]) -> None:
        with self._fates():
            self.client.delete(
                self.name, list(names), wait=True, ordering=models.WriteOrdering.STRONG
            )

    def query(self, queries: list[models.QueryRequest]) -> list[list[tuple[int, float]]]:
        answers: list[list[tuple[int, float]]] = []
        for start in range(0, len(queries), QUERIES):
            with self._fates():
                responses = self.client.query_batch_points(
                    self.name, queries[start : start + QUERIES]
                )
            answers += [[(int(p.id), p.score) for p in r.points] for r in responses]
        return answers

    def count(self) -> int:
        with self._fates():
            return int(self.client.count(self.name, exact=True).count)

    @contextmanager
    def _fates(self) -> Iterator[None]:
        """Around each call: the collection is there, and errors are fates."""
        try:
            if not self.checked:
                self._ensure()
                self.checked = True
            yield
        except ResourceExhaustedResponse as error:
            raise TransientError(f"Qdrant is busy: {error}") from error
        except UnexpectedResponse as error:
            raise self._fate_of(error) from error
        except ResponseHandlingException as error:
            source = error.source
            if isinstance(source, httpx.TransportError) and not isinstance(
                source, httpx.UnsupportedProtocol
            ):
                raise TransientError(f"Qdrant can't be reached: {source!r}") from error
            raise FatalError(
                f"Qdrant can't be talked to: {source!r}; check STREAMREC_QDRANT__URL"
            ) from error

    def _fate_of(self, error: UnexpectedResponse) -> Exception:
        status, said = (
            error.status_code or 0,
            error.content.decode("utf-8", "replace")[:500],
        )
        if status == 404 and self.checked:
            # Dropped under us, or a restore is under way: the next call makes it again, and
            # whoever finds no progress folds again.
            self.checked = False
            return TransientError(f"the collection {self.name} is gone: {said}")
        if status >= 500 or status in (408, 429):
            return TransientError(f"Qdrant answered {status}: {said}")
        if status == 404:
            return FatalError(
                f"no Qdrant answers there ({said}); check STREAMREC_QDRANT__URL"
            )
        if status in (401, 403):
            return FatalError(
                f"Qdrant refuses us ({status}); check STREAMREC_QDRANT__API_KEY"
            )
        return FatalError(f"Qdrant refused a call on {self.name} with {status}: {said}")

    def _ensure(self) -> None:
        if not self.client.collection_exists(self.name):
            self._create()
        vectors = self.client.get_collection(self.name).config.params.vectors
        found = vectors.get(self.vector) if isinstance(vectors, dict) else None
        if (
            found is None
            or found.size != self.width
            or found.distance != models.Distance.DOT
        ):
            raise FatalError(
                f"the collection {self.name} holds {vectors}, not the vector {self.vector!r} of "
                f"width {self.width} by dot product: drop it (it fills from the log), or name "
                "another by STREAMREC_QDRANT__USERS, __PROGRESS or __ITEMS"
            )
        if self.client.init_options["location"] == ":memory:":
            return  # has no indexes, and warns
        for key, schema in self.indexes.items():
            self.client.create_payload_index(
                self.name, key, models.PayloadSchemaType(schema), wait=True
            )

    def _create(self) -> None:
        graph = None if self.graph else models.HnswConfigDiff(m=0)
        params = models.VectorParams(size=self.width, distance=models.Distance.DOT)
        try:
            self.client.create_collection(
                self.name, vectors_config={self.vector: params}, hnsw_config=graph
            )
        except (UnexpectedResponse, ValueError) as error:
            if "already exists" not in str(error):  # another worker came first
                raise
