"""Qdrant's REST calls, as far as our stores make them, over the embedded engine.

No Qdrant server installs from the registries; this one lets several processes share a store
through the real client, and can be slowed, made to fail, killed and given an older copy:

    python -m tests.support.edge_server --port 6333 --path DIR

    POST /_faults   {"status": 503}   every call fails; {"status": 503, "after": true}: after
                    it was done; {"delay_s": 2}: first waits; {}: all is well again
    POST /_snapshot {"dir": "..."}    a copy of everything, taken between two calls
    POST /_restore  {"dir": "..."}    such a copy in the place of everything
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock
from typing import Any

import qdrant_edge as edge

Json = dict[str, Any]


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Collections:
    """Shards in a folder, each a collection. The caller holds the lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards: dict[str, edge.EdgeShard] = {}
        self.open()

    def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if path.suffix != ".new":
                self.shards[path.name] = edge.EdgeShard.load(str(path))

    def close(self) -> None:
        for shard in self.shards.values():
            shard.flush()
            shard.close()
        self.shards.clear()

    def shard(self, name: str) -> edge.EdgeShard:
        if name not in self.shards:
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        return self.shards[name]

    def create(self, name: str, asked: Json) -> bool:
        if name in self.shards:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        vectors = {
            vector: edge.EdgeVectorParams(
                size=params["size"], distance=getattr(edge.Distance, params["distance"])
            )
            for vector, params in asked["vectors"].items()
        }
        optimizers = edge.EdgeOptimizersConfig(indexing_threshold=1 << 40)
        aside = self.folder / f"{name}.new"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        config = edge.EdgeConfig(vectors=vectors, optimizers=optimizers)
        edge.EdgeShard.create(str(aside), config).close()
        aside.rename(self.folder / name)
        self.shards[name] = edge.EdgeShard.load(str(self.folder / name))
        return True

    def describe(self, name: str) -> Json:
        self.shard(name)
        config = json.loads((self.folder / name / "edge_config.json").read_text())
        hnsw = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000}
        optimizers = {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
        }
        return {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": self.shard(name).info().segments_count,
            "points_count": self.shard(name).info().points_count,
            "config": {
                "params": {"vectors": config["vectors"]},
                "hnsw_config": hnsw,
                "optimizer_config": optimizers,
            },
            "payload_schema": {},
        }

    def drop(self, name: str) -> bool:
        self.shard(name).close()
        del self.shards[name]
        shutil.rmtree(self.folder / name)
        return True

    def snapshot(self, target: Path) -> bool:
        for shard in self.shards.values():
            shard.flush()
        shutil.copytree(self.folder, target)
        return True

    def restore(self, source: Path) -> bool:
        self.close()
        shutil.rmtree(self.folder)
        shutil.copytree(source, self.folder)
        self.open()
        return True


def index(shard: edge.EdgeShard, asked: Json) -> Json:
    schema = getattr(edge.PayloadSchemaType, asked["field_schema"].capitalize())
    shard.update(edge.UpdateOperation.create_field_index(asked["field_name"], schema))
    return COMPLETED


def upsert(shard: edge.EdgeShard, asked: Json) -> Json:
    points = [edge.Point(p["id"], p["vector"], p.get("payload")) for p in asked["points"]]
    condition = asked.get("update_filter")
    shard.update(
        edge.UpdateOperation.upsert_points(points, condition and filter_of(condition))
    )
    return COMPLETED


def delete(shard: edge.EdgeShard, asked: Json) -> Json:
    shard.update(edge.UpdateOperation.delete_points(asked["points"]))
    return COMPLETED


def retrieve(shard: edge.EdgeShard, asked: Json) -> list[Json]:
    payload, vector = asked.get("with_payload", True), asked.get("with_vector", False)
    records = shard.retrieve(asked["ids"], with_payload=payload, with_vector=vector)
    return [
        {"id": name_of(r.id), "payload": r.payload if payload else None, "vector": r.vector}
        for r in records
    ]


def query(shard: edge.EdgeShard, asked: Json) -> list[Json]:
    requests = [
        edge.QueryRequest(
            limit=search["limit"],
            query=edge.Query.Nearest(search["query"]["nearest"], using=search["using"]),
            filter=filter_of(search["filter"]) if search.get("filter") else None,
            params=edge.SearchParams(exact=True),
        )
        for search in asked["searches"]
    ]
    return [
        {"points": [{"id": name_of(p.id), "version": 0, "score": p.score} for p in answer]}
        for answer in shard.query_batch(edge.QueryBatchRequest(requests))
    ]


def count(shard: edge.EdgeShard, asked: Json) -> Json:
    return {"count": shard.count(edge.CountRequest(exact=True))}


def filter_of(asked: Json) -> edge.Filter:
    """A filter of the REST API as the engine's."""
    known = {"must", "should", "must_not"}
    if unknown := asked.keys() - known:
        raise Refused(400, f"this small server knows no {sorted(unknown)}")
    parts = {key: [condition_of(c) for c in asked.get(key) or ()] for key in known}
    return edge.Filter(**{key: conditions or None for key, conditions in parts.items()})


def condition_of(asked: Json) -> Any:
    if "has_id" in asked:
        return edge.HasIdCondition(set(asked["has_id"]))
    if "match" in asked:
        match = edge.MatchValue(asked["match"]["value"])
        return edge.FieldCondition(asked["key"], match=match)
    if "range" in asked:
        limits = {key: value for key, value in asked["range"].items() if value is not None}
        return edge.FieldCondition(asked["key"], range=edge.RangeFloat(**limits))
    return filter_of(asked)


def name_of(point_id: Any) -> int | str:
    return point_id if isinstance(point_id, int) else str(point_id)


VERSION = {"title": "edge server for tests", "version": "1.20.0"}
COMPLETED: Json = {"operation_id": 0, "status": "completed"}
CALLS: dict[tuple[str, str], Callable[[edge.EdgeShard, Json], Any]] = {
    ("PUT", "index"): index,
    ("PUT", "points"): upsert,
    ("POST", "points"): retrieve,
    ("POST", "points/delete"): delete,
    ("POST", "points/query/batch"): query,
    ("POST", "points/count"): count,
}


class Server(ThreadingHTTPServer):
    """What the handlers share."""

    daemon_threads = True

    def __init__(self, port: int, folder: Path) -> None:
        self.lock = Lock()
        self.collections = Collections(folder)
        self.faults: Json = {}
        self.writes = 0
        super().__init__(("127.0.0.1", port), Handler)

    def answer(self, method: str, path: str, asked: Json) -> Any:
        if path.startswith("/_"):
            return self.control(path, asked)
        faults = self.faults
        if delay_s := faults.get("delay_s"):
            Event().wait(delay_s)
        if "status" in faults and not faults.get("after"):
            raise Refused(faults["status"], "told to fail")
        with self.lock:
            result = self.call(method, path, asked)
        if "status" in faults:
            raise Refused(faults["status"], "told to fail when it was done")
        return result

    def control(self, path: str, asked: Json) -> bool:
        with self.lock:
            if path == "/_snapshot":
                return self.collections.snapshot(Path(asked["dir"]))
            if path == "/_restore":
                return self.collections.restore(Path(asked["dir"]))
            self.faults = asked
            return True

    def call(self, method: str, path: str, asked: Json) -> Any:
        if path in ("/", "/healthz"):
            return True
        _, _, name, *rest = path.split("/", 3)
        call, collections = (method, rest[0] if rest else ""), self.collections
        whole = {
            ("GET", "exists"): lambda: {"exists": name in collections.shards},
            ("PUT", ""): lambda: collections.create(name, asked),
            ("GET", ""): lambda: collections.describe(name),
            ("DELETE", ""): lambda: collections.drop(name),
        }
        if call in whole:
            return whole[call]()
        if call not in CALLS:
            raise Refused(404, f"this small server knows no {method} {path}")
        shard = self.collections.shard(name)
        self.writes += method == "PUT"
        if self.writes % 64 == 63:
            shard.flush()  # lets the engine drop its log; a kill needs no flush
        try:
            return CALLS[call](shard, asked)
        except Refused:
            raise
        except Exception as error:
            raise Refused(400, f"Wrong input: {error}") from error


class Handler(BaseHTTPRequestHandler):
    """JSON in, JSON out, over kept connections."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def handle_call(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            path = self.path.partition("?")[0]
            result = self.server.answer(self.command, path, json.loads(body or b"{}"))
            status, said = 200, {"result": result, "status": "ok", "time": 0.0, **VERSION}
        except Refused as refused:
            status, said = refused.status, {"status": {"error": str(refused)}, "time": 0.0}
        answer = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        try:
            self.wfile.write(answer)
            self.wfile.flush()
        except ConnectionError:
            self.close_connection = True  # waited too long for us

    do_GET = do_PUT = do_POST = do_DELETE = handle_call

    def log_message(self, *args: Any) -> None:
        """Silent."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", type=Path, required=True)
    asked = parser.parse_args()
    Server(asked.port, asked.path / "collections").serve_forever()


if __name__ == "__main__":
    main()
