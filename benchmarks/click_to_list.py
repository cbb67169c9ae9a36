"""How long from a click to its list, as an outside read_committed consumer sees it?

A real broker, one recommend worker and the measuring client share the machine; `--blended`: and
a trend worker, with a trained model in force, so that lists are what they are in production.
Clicks go out at a steady rate; the time of each is from the broker's append to the client having
the list.
"""

import argparse
import os
import random
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `rec` does

import numpy as np  # noqa: E402

from benchmarks.lists_per_second import WARM, columns  # noqa: E402
from benchmarks.lists_per_second import events as clicks  # noqa: E402
from benchmarks.report import percentile, write  # noqa: E402
from benchmarks.steady import Appended, options_of, rss_mib  # noqa: E402
from encoders.fusion import fusion_version  # noqa: E402
from ranking.learn import learn  # noqa: E402
from ranking.learn_settings import LearnSettings  # noqa: E402
from schemas import Interaction, encode  # noqa: E402
from tests.support.kafka import running_kafka  # noqa: E402
from tests.support.spine import Process, Reader, Spine, spine, vector_of  # noqa: E402
from workers.model_files import write_model  # noqa: E402

STAGES = {"list": ("encode", "search", "rank"), "publish": ("publish",), "save": ("save",),
          "learn": ("learn",)}  # fmt: skip
SPENT = re.compile(r'\w+_stage_seconds_sum{.*stage="(?P<stage>\w+)".*} (?P<value>\S+)')
BATCHES = re.compile(r"\w+_batch_records_(?P<what>count|sum){.*} (?P<value>\S+)")
QUESTION = "How long from a click to its list, exactly once?"


def main() -> None:
    options = options_of(__doc__, seconds=20.0)
    options.add_argument("--width", type=int, default=256)
    options.add_argument("--blended", action="store_true", help="with trends and a model")
    said = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    with running_kafka(folder / "kafka") as broker, spine(
        broker.bootstrap, "bench", folder,
        STREAMREC_ENCODERS__WIDTH=str(said.width), STREAMREC_KAFKA__PARTITIONS="6",
    ) as house:  # fmt: skip
        house.catalogue([f"i{n}" for n in range(said.items)])
        worker = house.start("recommend")
        worker.wait_ready()
        reader = Reader(broker.bootstrap, house.topic("recommendations"))
        if said.blended:
            blend(house, reader, said)
        rates = [int(rate) for rate in said.rates.split(",")]
        rows = [timed(house, reader, worker, rate=rate, said=said) for rate in rates]
        rows[-1]["worker RSS MiB"] = rss_mib(worker.child.pid)
        reader.close()
        worker.stop()
    for row in rows:
        row.setdefault("worker RSS MiB", "")
    how = "blended, a trend worker beside it" if said.blended else "by content"
    write(
        "click-to-list-blended" if said.blended else "click-to-list",
        QUESTION,
        rows,
        f"{said.items} items x {said.width}, {said.users} users; lists {how}",
    )


def blend(house: Spine, reader: Reader, said: argparse.Namespace) -> None:
    """A past of everybody, a trend worker that has read it, a model that has learned it."""
    house.start("trend").wait_ready()
    chance = random.Random(0)
    past = clicks(chance, said, start=0, rounds=WARM)
    house.send(*past)
    house.flush()
    reader.until([event.event_id for event in past], limit_s=300)
    width = said.width
    vectors = np.stack([vector_of(f"i{n}", width) for n in range(said.items)])
    brief = LearnSettings(most=1_000, epochs=1, tower_epochs=1, anew=False)
    space, log = fusion_version(house.config.encoders), columns(past, vectors)
    log = replace(log, items=replace(log.items, encoder=space))
    card = write_model(
        learn(log, settings=brief),
        folder=house.folder / "models", name="ranker", encoder=space, width=width, at_ms=1,
    )  # fmt: skip
    house.put("models", "ranker", encode(card))
    house.flush()
    for n in range(10_000):
        (click,) = clicks(chance, said, start=1 + n, rounds=1)[:1]
        house.send(click)
        reader.until([click.event_id])
        versions = next(
            s.versions for s in reversed(reader.slates) if click.event_id in s.caused_by
        )
        if versions["model"] == card.version:
            return
    raise AssertionError(f"no list names model {card.version}")


def timed(
    house: Spine, reader: Reader, worker: Process, *, rate: int, said: argparse.Namespace
) -> dict[str, object]:
    """A rate measured, and what a batch of it cost the worker, stage by stage."""
    before = stages(worker)
    row = measure(house, reader, rate=rate, said=said)
    spent = {stage: now - before.get(stage, 0.0) for stage, now in stages(worker).items()}
    batches, events = spent.pop("batches"), spent.pop("events")
    row["events a batch"] = round(events / batches, 1)
    for name, of in STAGES.items():
        ms = 1000 * sum(spent.get(stage, 0.0) for stage in of)
        row[f"{name}, ms a batch"] = round(ms / batches, 1)
    return row


def stages(worker: Process) -> dict[str, float]:
    """Seconds that the worker has spent in each stage, how many batches and events."""
    text, out = worker.get("/metrics")[1].decode(), {}
    for line in text.splitlines():
        if found := SPENT.match(line):
            out[found["stage"]] = float(found["value"])
        elif found := BATCHES.match(line):
            out["batches" if found["what"] == "count" else "events"] = float(found["value"])
    return out


def measure(
    house: Spine, reader: Reader, *, rate: int, said: argparse.Namespace
) -> dict[str, object]:
    """Send at this rate and read along; the first 3 seconds are not counted."""
    random_, sent = random.Random(rate), 0
    appended = Appended()
    begin = time.monotonic()
    while (now := time.monotonic() - begin) < said.seconds:
        while sent < now * rate:
            name, user = f"r{rate}-{sent}", f"u{random_.randrange(said.users)}"
            event = Interaction(
                event_id=name, user_id=user, item_id=f"i{random_.randrange(said.items)}",
                kind="click", at_ms=int(time.time() * 1000),
            )  # fmt: skip
            house.put("events", user, encode(event), on_delivery=appended.of(name))
            sent += 1
        reader.poll(0.002)
    house.flush()
    reader.until(appended.at_s, limit_s=60)
    counted = [n for n in appended.at_s if int(n.split("-")[1]) >= 3 * rate]
    ms = [1000 * (reader.seen_at_s[n] - appended.at_s[n]) for n in counted]
    return {
        "events/s": rate,
        "events": len(ms),
        "p50 ms": round(percentile(ms, 0.5), 1),
        "p95 ms": round(percentile(ms, 0.95), 1),
        "p99 ms": round(percentile(ms, 0.99), 1),
        "max ms": round(max(ms), 1),
        "lost": len(appended.at_s.keys() - reader.named.keys()),
        "doubled": sum(n > 1 for n in reader.named.values()),
    }


if __name__ == "__main__":
    main()
