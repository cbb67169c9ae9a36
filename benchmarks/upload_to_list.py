"""How long from an upload until its item is in a list, and how much of the machine's encoding
rate is left end to end?

A real broker, an encode and a recommend worker and the measuring client share the machine.
First: items without content are there; pictures for them are uploaded at a steady rate. The
time of each runs from the broker's append of the upload until an outside read_committed
client has a list with the item in it for its vector's sake (source "interest"). Somebody
visits all the while, and his lists are long enough for all items: their period is part of
the time.
The recommend worker's own metric stands beside it: the bucket of its p99.

Second: pictures that wait in the log are encoded by a worker as fast as it goes; beside it the
same pictures decoded one after the other and given to the bare model, in this process.
"""

import argparse
import io
import math
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import percentile, write  # noqa: E402
from benchmarks.steady import rss_mib  # noqa: E402
from encoders.config import EncoderConfig  # noqa: E402
from encoders.load import load_encoders, warm_up  # noqa: E402
from schemas import Interaction, Item, Media, MediaRef, Visit, encode  # noqa: E402
from tests.support.kafka import consume_all, running_kafka  # noqa: E402
from tests.support.spine import Process, Reader, Spine, spine  # noqa: E402
from workers.media_decode import decode  # noqa: E402
from workers.media_limits import MediaLimits  # noqa: E402

QUESTION = "How long from an upload until its item is in a list?"
RATE_QUESTION = "How much of (decode + bare model) is left end to end?"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rate", type=float, default=5.0, help="uploads a second")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--visit-ms", type=float, default=50.0)
    options.add_argument("--pictures", help="a folder of pictures; else some are drawn")
    options.add_argument("--encoded", type=int, default=600, help="pictures of the second")
    options.add_argument("--threads", type=int, default=2, help="of torch, in both")
    said = options.parse_args()
    pictures = pictures_of(said.pictures)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    settings = {
        "STREAMREC_ENCODERS__WIDTH": "256",
        "STREAMREC_ENCODERS__THREADS": str(said.threads),
        "STREAMREC_ENCODERS__DEVICE": "cpu",
        "STREAMREC_LIST__K": "1000",
    }
    mean_kib = sum(map(len, pictures)) / len(pictures) / 1024
    note = f"{len(pictures)} pictures of {mean_kib:.0f} KiB on average, torch on {said.threads} threads of the CPU"
    with running_kafka(folder / "kafka") as broker:
        with spine(broker.bootstrap, "latency", folder, **settings) as house:
            row = uploads(house, pictures, said)
        write("upload-to-list", QUESTION, [row], note)
        rate = bare(pictures, said)
        with spine(broker.bootstrap, "rate", folder, **settings) as house:
            row = throughput(house, pictures, said, bare_rate=rate)
        beside = "bare: one after the other; end to end decodes while the model runs"
        write("encode-rate", RATE_QUESTION, [row], note, beside)


def uploads(
    house: Spine, pictures: list[bytes], said: argparse.Namespace
) -> dict[str, object]:
    """Upload at the rate and read along; the first 3 seconds are not counted."""
    count = int(said.rate * said.seconds)
    for n in range(count):
        house.put("items", f"i{n}", encode(Item(item_id=f"i{n}")))
    liked = Item(item_id="liked", media=[MediaRef(kind="image", data=pictures[0])])
    house.put("items", "liked", encode(liked))
    house.flush()
    begun = time.monotonic()
    workers = [house.start("recommend"), house.start("encode")]
    for worker in workers:
        worker.wait_ready()
    started_s = time.monotonic() - begun
    consume_all(
        house.bootstrap,
        house.topic("item-vectors"),
        until=lambda read: len({m.key() for m in read}) > count,
    )
    reader = Reader(house.bootstrap, house.topic("recommendations"))
    like = Interaction(
        event_id="like", user_id="ann", item_id="liked", kind="like", at_ms=now_ms()
    )
    house.send(like)
    reader.until(["like"])
    before = buckets(workers[0])
    appended, listed = stream(house, reader, pictures, said)
    reader.close()
    ms = [1000 * (listed[n] - appended[n]) for n in appended if int(n[1:]) >= 3 * said.rate]
    row = {
        "uploads/s": said.rate,
        "uploads": len(ms),
        "p50 ms": round(percentile(ms, 0.5)),
        "p95 ms": round(percentile(ms, 0.95)),
        "p99 ms": round(percentile(ms, 0.99)),
        "max ms": round(max(ms)),
        "both workers ready after s": round(started_s, 1),
        "encode RSS MiB": rss_mib(workers[1].child.pid),
        "by the recommend worker's metric": told(workers[0], before),
    }
    for worker in workers:
        worker.stop()
    return row


def stream(
    house: Spine, reader: Reader, pictures: list[bytes], said: argparse.Namespace
) -> tuple[dict[str, float], dict[str, float]]:
    """When the broker had each upload, and when the client had the item in a list."""
    appended: dict[str, float] = {}
    listed: dict[str, float] = {}

    def delivered(name: str, error: object, message: object) -> None:
        assert error is None, error
        appended[name] = message.timestamp()[1] / 1000  # type: ignore[attr-defined]

    begun, sent, visits, read = time.monotonic(), 0, 0, len(reader.slates)
    total = int(said.rate * said.seconds)
    while len(listed) < total:
        now = time.monotonic() - begun
        assert now < said.seconds + 60, f"{total - len(listed)} never listed"
        while sent < min(total, now * said.rate):
            name = f"i{sent}"
            media = Media(
                media_id=f"m{sent}", kind="image", at_ms=now_ms(), item_id=name,
                data=pictures[sent % len(pictures)],
            )  # fmt: skip
            house.put("media", name, encode(media), on_delivery=partial(delivered, name))
            sent += 1
        if now * 1000 >= visits * said.visit_ms:
            house.send(Visit(event_id=f"v{visits}", user_id="ann", at_ms=now_ms()))
            visits += 1
        reader.poll(0.005)
        for slate in reader.slates[read:]:
            for item in slate.items:
                if item.source == "interest":
                    listed.setdefault(item.item_id, time.time())
        read = len(reader.slates)
        listed.pop("liked", None)
    house.flush()
    return appended, listed


def buckets(worker: Process) -> dict[float, float]:
    """What streamrec_upload_to_recommendable_seconds has counted, by upper limit."""
    found = {}
    for line in worker.get("/metrics")[1].decode().splitlines():
        if line.startswith("streamrec_upload_to_recommendable_seconds_bucket"):
            limit, count = line.split('le="')[1].split('"} ')
            found[float(limit)] = float(count)
    return found


def told(worker: Process, before: dict[float, float]) -> str:
    """The bucket in which the p99 of what was counted since then lies."""
    since = {limit: count - before[limit] for limit, count in buckets(worker).items()}
    p99 = min(limit for limit, count in since.items() if count >= 0.99 * since[math.inf])
    return f"p99 <= {p99:g} s"


def bare(pictures: list[bytes], said: argparse.Namespace) -> float:
    """Pictures a second, decoded one after the other and then encoded all at once."""
    encoders = load_encoders(EncoderConfig(device="cpu", threads=said.threads))
    warm_up(encoders)
    ref, limits = MediaRef(kind="image"), MediaLimits()
    data = [pictures[n % len(pictures)] for n in range(said.encoded)]
    begun = time.perf_counter()
    for at in range(0, len(data), 64):
        contents = [decode(ref, one, limits=limits) for one in data[at : at + 64]]
        encoders["image"].encode(contents)
    took_s = time.perf_counter() - begun
    torch.set_num_threads(1)  # from here on this process only reads
    return len(data) / took_s


def throughput(
    house: Spine, pictures: list[bytes], said: argparse.Namespace, *, bare_rate: float
) -> dict[str, object]:
    """Pictures a second from the log to the log, without the first batch."""
    for n in range(said.encoded):
        # A byte at the end makes each another content: none is encoded for two.
        data = pictures[n % len(pictures)] + n.to_bytes(4, "big")
        shown = [MediaRef(kind="image", data=data)]
        house.put("items", f"i{n}", encode(Item(item_id=f"i{n}", media=shown)))
    house.flush()
    worker = house.start("encode")
    messages = consume_all(
        house.bootstrap, house.topic("item-vectors"),
        until=lambda read: len(read) >= said.encoded, limit_s=600,
    )  # fmt: skip
    at_s = sorted(m.timestamp()[1] / 1000 for m in messages)
    later = [at for at in at_s if at > at_s[0] + 0.005]
    rate = len(later) / (at_s[-1] - at_s[0])
    row = {
        "pictures": said.encoded,
        "end to end a second": round(rate, 1),
        "decode + bare model a second": round(bare_rate, 1),
        "ratio": round(rate / bare_rate, 2),
        "encode RSS MiB": rss_mib(worker.child.pid),
    }
    worker.stop()
    return row


def pictures_of(folder: str | None) -> list[bytes]:
    """Files of the folder, or drawn ones as large as a shop's."""
    if folder:
        files = sorted(Path(folder).rglob("*.[jJp][pPn][gG]"))[:200]
        return [file.read_bytes() for file in files]
    return [drawn(n) for n in range(40)]


def drawn(number: int) -> bytes:
    """1024 x 768, soft colours under some noise."""
    random_ = np.random.default_rng(number)
    soft = Image.fromarray(random_.integers(0, 255, (6, 8, 3), np.uint8))
    wide = np.asarray(soft.resize((1024, 768), Image.Resampling.BICUBIC), np.int16)
    noise = random_.normal(0, 6, wide.shape).astype(np.int16)
    stream = io.BytesIO()
    Image.fromarray((wide + noise).clip(0, 255).astype(np.uint8)).save(
        stream, "JPEG", quality=random.Random(number).randrange(75, 92)
    )
    return stream.getvalue()


def now_ms() -> int:
    return int(time.time() * 1000)


if __name__ == "__main__":
    main()
