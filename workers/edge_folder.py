"""A folder of shards of Qdrant's embedded engine: one opener, no half-made shard."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from workers.ports import FatalError


class Folder:
    """Shards in one folder, under one lock that ends with the process."""

    def __init__(self, path: Path, name: str) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._shards: list[Any] = []
        self._lock = os.open(path / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise FatalError(
                f"another worker has the store in {path} open: give each worker its own name "
                "by STREAMREC_KAFKA__WORKER"
            ) from None

    def open(self, name: str, widths: dict[str, int]) -> Any:
        """The shard of this name, made where it is missing."""
        config = edge.EdgeConfig(
            vectors={
                vector: edge.EdgeVectorParams(size=width, distance=edge.Distance.Dot)
                for vector, width in widths.items()
            },
            # Points stay where they are written; a graph over them would serve nobody.
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1 << 40),
        )
        path = self._path / name
        if not path.exists():
            self._make(path, config)
        try:
            shard = edge.EdgeShard.load(str(path), config)
        except Exception as error:
            self.close()
            raise FatalError(
                f"the store in {path} can't be opened ({error}). If the width of vectors was "
                "changed, name another folder by STREAMREC_QDRANT__PATH; it fills from the log"
            ) from error
        self._shards.append(shard)
        return shard

    def _make(self, path: Path, config: Any) -> None:
        """Made aside and renamed: a process killed here leaves no half of a shard."""
        aside = path.with_suffix(".new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        edge.EdgeShard.create(str(aside), config).close()
        aside.rename(path)

    def close(self) -> None:
        """Everything on disk, and the folder free for another."""
        for shard in self._shards:
            shard.flush()
            shard.close()
        self._shards.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
