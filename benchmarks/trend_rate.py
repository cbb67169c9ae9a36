"""How many events a second does a trend worker sustain, and how old are the trends that are read?

A real broker with 6 partitions, one trend worker and the measuring client share the machine.
First a backlog is worked off (events a second of the worker, saves and publishes included); then
events go out at steady rates, ten a second of them on an item that nobody touched before: the
time of each is from the broker's append to an outside reader having that item's row. Events a
CPU second of the worker, all that it does included, tell of it even where others are busy too.
"""

import argparse
import os
import random
import re
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from confluent_kafka import OFFSET_END, Consumer, TopicPartition  # noqa: E402

from benchmarks.report import percentile, write  # noqa: E402
from benchmarks.steady import Appended, options_of, rss_mib  # noqa: E402
from ranking.trend_board import TrendBoard  # noqa: E402
from schemas import Interaction, decode, encode  # noqa: E402
from tests.support.kafka import running_kafka  # noqa: E402
from tests.support.spine import Process, Spine, spine  # noqa: E402
from tests.support.waiting import wait_for  # noqa: E402
from tests.wire.test_trend_killed import folded  # noqa: E402

QUESTION = (
    "How many events a second does a trend worker sustain, and how old are the trends?"
)
PROBES_A_SECOND = 10


def main() -> None:
    options = options_of(__doc__, seconds=15.0)
    options.add_argument("--backlog", type=int, default=30_000)
    said = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    with running_kafka(folder / "kafka") as broker, spine(
        broker.bootstrap, "bench", folder, STREAMREC_KAFKA__PARTITIONS="6"
    ) as house:  # fmt: skip
        worker = house.start("trend")
        worker.wait_ready()
        at_start = rss_mib(worker.child.pid)
        worker.stop()
        for n in range(said.backlog):
            send(house, f"b{n}", said)
        house.flush()
        worker = house.start("trend")
        rows = [backlog(worker, said) | {"RSS MiB before any event": at_start}]
        worker.wait_ready()
        reader = Reader(house)
        rows += [
            steady(house, reader, worker, rate=int(rate), said=said)
            for rate in said.rates.split(",")
        ]
        worker.kill()
        begin = time.monotonic()
        worker = house.start("trend")
        worker.wait_ready()
        rows[-1]["killed to ready s"] = round(time.monotonic() - begin, 1)
        worker.stop()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    shown = [{name: row.get(name, "") for name in columns} for row in rows]
    write(
        "trend-rate", QUESTION, shown,
        f"{said.items} items (skewed), {said.users} users, 6 partitions, one worker, defaults; load "
        f"average {os.getloadavg()[0]:.1f} at the end",
    )  # fmt: skip


def send(
    house: Spine, name: str, said: argparse.Namespace, item: str = "", **more: object
) -> None:
    """One click; of a random user on a random item, popular ones more often."""
    user = f"u{random.randrange(said.users)}"
    event = Interaction(
        event_id=name, user_id=user, kind="click", at_ms=int(time.time() * 1000),
        item_id=item or f"i{int(random.random() ** 2 * said.items)}",
    )  # fmt: skip
    house.put("events", user, encode(event), **more)


def backlog(worker: Process, said: argparse.Namespace) -> dict[str, object]:
    """From a tenth of the backlog to its end."""
    first = wait_for(lambda: at_least(worker, said.backlog // 10), limit_s=180)
    begin, busy_s = time.monotonic(), cpu_s(worker.child.pid)
    last = wait_for(lambda: at_least(worker, said.backlog), limit_s=600, every_s=0.05)
    return {
        "what": "backlog",
        "events/s": round((last - first) / (time.monotonic() - begin)),
        "events": last - first,
        "events/CPU s": round((last - first) / (cpu_s(worker.child.pid) - busy_s)),
    }


def at_least(worker: Process, events: int) -> int:
    counted = folded(worker)
    return counted if counted >= events else 0


class Reader:
    """An outside reader of the trends, from the end on."""

    def __init__(self, house: Spine) -> None:
        self.consumer = Consumer(
            {"bootstrap.servers": house.bootstrap, "group.id": "trends-reader"}
        )
        self.consumer.assign([TopicPartition(house.topic("trends"), 0, OFFSET_END)])
        self.consumer.poll(1.0)
        self.seen_at_s: dict[str, float] = {}
        self.told_at_s: dict[str, float] = {}
        self.board, self.rows, self.bytes, self.busy_s = TrendBoard(), 0, 0, 0.0

    def poll(self, timeout_s: float) -> None:
        for message in self.consumer.consume(500, timeout_s):
            assert message.error() is None, message.error()
            now, begin = time.time(), time.process_time()
            record = decode("trends", message.value())
            self.board.take(record)
            self.busy_s += time.process_time() - begin
            self.rows += len(record.rows)
            self.bytes += len(message.value())
            if record.name.startswith(("popular", "rows")):
                for key, _ in record.rows:
                    if "probe" in key and (item := key.rpartition("\n")[2])[:1] == "p":
                        self.seen_at_s.setdefault(item, now)
                        self.told_at_s.setdefault(item, message.timestamp()[1] / 1000)


def steady(
    house: Spine, reader: Reader, worker: Process, *, rate: int, said: argparse.Namespace
) -> dict[str, object]:
    """Send at this rate and read along; the first 3 seconds are not counted."""
    appended = Appended()
    sent, probes, begin = 0, 0, time.monotonic()
    busy_s, stages = cpu_s(worker.child.pid), stage_s(worker)
    reader.rows, reader.bytes, reader.busy_s = 0, 0, 0.0

    while (now := time.monotonic() - begin) < said.seconds:
        while sent < now * rate:
            probe = ""
            more: dict[str, object] = {}
            if probes < now * PROBES_A_SECOND:
                probe, probes = f"probe-{rate}-{probes}", probes + 1
                more = {"on_delivery": appended.of(probe)}
            send(house, f"r{rate}-{sent}", said, probe, **more)
            sent += 1
        reader.poll(0.002)
    read = (reader.rows, reader.bytes, reader.busy_s)
    busy_s = cpu_s(worker.child.pid) - busy_s
    stages = {name: s - stages.get(name, 0.0) for name, s in stage_s(worker).items()}
    house.flush()
    end = time.monotonic() + 60
    while appended.at_s.keys() - reader.seen_at_s.keys():
        assert time.monotonic() < end, (
            f"{len(appended.at_s.keys() - reader.seen_at_s.keys())} unseen"
        )
        reader.poll(0.1)
    counted = [
        name for name in appended.at_s if int(name.split("-")[2]) >= 3 * PROBES_A_SECOND
    ]
    s = [reader.seen_at_s[name] - appended.at_s[name] for name in counted]
    told_s = [reader.told_at_s[name] - appended.at_s[name] for name in counted]
    return {
        "what": "steady",
        "events/s": rate,
        "events": sent,
        "events/CPU s": round(sent / busy_s),
        "p50 s": round(percentile(s, 0.5), 2),
        "p99 s": round(percentile(s, 0.99), 2),
        "max s": round(max(s), 2),
        "told p50 s": round(percentile(told_s, 0.5), 2),
        "told p99 s": round(percentile(told_s, 0.99), 2),
        "ms a 1,000 events": ", ".join(
            f"{name} {s / sent * 1e6:.0f}" for name, s in stages.items() if s / sent > 1e-6
        ),
        "RSS MiB": rss_mib(worker.child.pid),
        "rows/s": round(read[0] / said.seconds),
        "KiB/s": round(read[1] / said.seconds / 1024),
        "reader CPU": round(read[2] / said.seconds, 3),
    }


def stage_s(worker: Process) -> dict[str, float]:
    """Seconds that the worker's stages took since it started."""
    said = worker.get("/metrics")[1].decode()
    found = re.findall(r'stage_seconds_sum\{.*stage="(\w+)".*\} (\S+)', said)
    return {stage: float(seconds) for stage, seconds in found}


def cpu_s(pid: int) -> float:
    """Seconds that a process has computed: does not tell how busy the machine is."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
