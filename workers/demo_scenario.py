"""`rec demo --scenario NAME`: a small invented world with media, through real workers.

media are made -> Kafka, topics, workers -> items -> events -> three people's lists
-> somebody does something, before and after -> somebody asks by a picture, a sound, a
film, a sensor window, in another language -> everything is stopped -> one line of figures
"""

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from schemas import Slate, Visit
from workers import children, demo_system
from workers.demo_show import heading, list_table
from workers.demo_stage import Stage, open_stage
from workers.ledger import percentile
from workers.scenario_media import write_media
from workers.scenarios import Scenario, read_scenario, signals_of
from workers.terminal import CommandError, Exit, console, hush
from workers.topics_report import create_topics

ITEMS_S = 240.0  # a limit, not a promise: films on a busy laptop
PAUSE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """How the acts came out: places of the wanted category among those of the list."""

    change: tuple[int, int]
    queries: tuple[tuple[int, int], ...]

    @property
    def fine(self) -> int:
        """Queries whose list is mostly of what was asked for."""
        return sum(2 * hits > places for hits, places in self.queries)


def run(name: str, *, folder: Path, keep: bool = False) -> int:
    """The whole of it. Exit code 1 if an event was lost or doubled, or a query was answered
    with something else."""
    hush()
    out, began_s = console(), time.perf_counter()
    scenario = read_scenario(name, media=folder / "media")  # before anything is emptied
    folder = demo_system.empty(folder)
    show = scenario.show
    heading(out, f"{show.title}: {show.about} Invented, and made on this machine")
    try:
        with children.ended_by_sigterm(), children.stopped_in_peace() as stack:
            stage = set_up(scenario, folder, out, stack)
            findings = story(scenario, folder, stage, out)
            out.print("stopping the workers and Kafka", style="dim")
    except CommandError as error:
        raise CommandError(
            f"{error}\n(everything is kept in {folder})", error.code
        ) from error
    if not keep:
        shutil.rmtree(folder)
    out.print(f"all of it took {time.perf_counter() - began_s:.0f} s", style="dim")
    return verdict(scenario, stage, findings, out)


def set_up(scenario: Scenario, folder: Path, out: Console, stack: ExitStack) -> Stage:
    """Media, Kafka, topics, and workers on their way up; all stopped by the stack."""
    began_s = time.perf_counter()
    count = write_media(scenario.recipes, folder / "media")
    out.print(f"{count} files of media are made ({time.perf_counter() - began_s:.1f} s)")
    bootstrap = demo_system.start_kafka(folder, stack)
    base = demo_system.environment(folder, bootstrap, posters=None)
    settings = base | dict(scenario.settings)
    config = demo_system.config_of(settings)
    create_topics(as_json=False, config=config)
    running = demo_system.start_workers(folder, settings, stack)
    told = {k: v for k, v in scenario.settings.items() if "MEDIA__ALLOW" not in k}
    for setting, value in told.items():
        out.print(f"  {setting}={value}", style="dim", markup=False, soft_wrap=True)
    return open_stage(config, running, stack)


def story(scenario: Scenario, folder: Path, stage: Stage, out: Console) -> Findings:
    """Everything that is shown, in the order in which it happens."""
    heading(out, "1  Items become vectors")
    load_items(scenario, folder, stage, out)
    heading(out, "2  People, and what they do and say")
    send_events(scenario, stage, out)
    heading(out, "3  Three people's lists")
    for person in scenario.show.shown:
        out.print(f"\n{person}, whose taste is {scenario.show.people[person]}:")
        show_list(scenario, ask(scenario, stage, person, "now"), out)
    heading(out, "4  A list that changes")
    change = show_change(scenario, stage, out)
    heading(out, "5  Asked by other means than words alone")
    queries = tuple(show_query(scenario, stage, number, out)
                    for number in range(len(scenario.queries)))  # fmt: skip
    stage.drain(limit_s=60.0)
    return Findings(change=change, queries=queries)


def load_items(scenario: Scenario, folder: Path, stage: Stage, out: Console) -> None:
    """Produces the items and waits until each has a vector of every one of its media."""
    began_s = time.perf_counter()
    for item in scenario.items:
        stage.send(item)
    wanted = {i.item_id: {"text", *(ref.kind for ref in i.media)} for i in scenario.items}
    while left := [i for i, s in wanted.items() if not s <= stage.encoded.get(i, set())]:
        if time.perf_counter() > began_s + ITEMS_S:
            raise CommandError(
                f"{len(left)} items lack a vector after {ITEMS_S:g} s, such as {left[0]}: "
                f"see {folder / 'encode.log'}"
            )
        stage.look_at_vectors(timeout_s=0.1)
        stage.hear(timeout_s=0.0)
    demo_system.await_ready(folder, list(stage.children), limit_s=60.0)
    kinds = sorted({kind for slots in wanted.values() for kind in slots})
    counts = (f"{k} {sum(k in s for s in stage.encoded.values())}" for k in kinds)
    out.print(
        f"{len(wanted)} items have vectors ({', '.join(counts)}) "
        f"{time.perf_counter() - began_s:.1f} s after they were produced"
    )


def send_events(scenario: Scenario, stage: Stage, out: Console) -> None:
    """All events, one after the other, until each has its list and each thing said a Signal."""
    said = [name for event in scenario.events if not isinstance(event, Visit)
            for name in signals_of(event)]  # fmt: skip
    stage.expect(said)
    for event in scenario.events:
        stage.send(event, phase="steady")
        stage.hear(timeout_s=PAUSE_S)
    stage.until(
        lambda: not stage.ledger.open and stage.answers.keys() >= set(said),
        limit_s=120.0,
        what="lists of all events and of all that was said",
    )
    out.print(
        f"{len(scenario.events)} events have a list each; {len(said)} pictures, sounds and "
        "readings that came with them have become Signals, and each had a list as well"
    )


def show_change(scenario: Scenario, stage: Stage, out: Console) -> tuple[int, int]:
    """Somebody's list, what they do, the list after it and after all that came with it."""
    act, event = scenario.show.change, scenario.change
    out.print(f"\n{event.user_id} looks:")
    show_list(scenario, ask(scenario, stage, event.user_id, "before"), out)
    said = signals_of(event)
    stage.expect(said)
    stage.ask(event)
    stage.until(
        lambda: stage.answers.keys() >= set(said), limit_s=60.0, what="the event's Signals"
    )
    after = ask(scenario, stage, event.user_id, "after")
    out.print(f"\n{event.user_id} {act.words}. Then:")
    show_list(scenario, after, out)
    return hits(scenario, after, act.wanted)


def show_query(
    scenario: Scenario, stage: Stage, number: int, out: Console
) -> tuple[int, int]:
    """Somebody unknown asks."""
    act, query = scenario.show.queries[number], scenario.queries[number]
    words = f" (“{query.text}”)" if query.text else ""
    out.print(f"\n{query.user_id} {act.words}{words}:", markup=False)
    slate = stage.ask(query)
    show_list(scenario, slate, out)
    return hits(scenario, slate, act.wanted)


def hits(scenario: Scenario, slate: Slate, category: str) -> tuple[int, int]:
    """How many places are of this category, and how many there are."""
    return sum(scenario.is_of(i.item_id, category) for i in slate.items), len(slate.items)


def ask(scenario: Scenario, stage: Stage, person: str, name: str) -> Slate:
    """The person comes by, for what people of this scenario look through."""
    category = scenario.show.category
    visit = Visit(
        event_id=f"visit-{person}-{name}",
        user_id=person,
        at_ms=scenario.change.at_ms,
        context={"category": category} if category else {},
    )
    return stage.ask(visit)


def show_list(scenario: Scenario, slate: Slate, out: Console) -> None:
    def title(item_id: str) -> str:
        of = [item.categories[-1] for item in scenario.items if item.item_id == item_id]
        return f"{scenario.title(item_id)} ({', '.join(of)})"

    out.print(list_table(slate, title, scenario.title, past="of"))


def verdict(scenario: Scenario, stage: Stage, findings: Findings, out: Console) -> int:
    """The last line, and whether all was as it has to be."""
    ledger = stage.ledger
    wrong = [*ledger.lost(), *ledger.doubled()]
    waits = ledger.waited_s.get("steady", [])
    if wrong:
        out.print(f"without a list, or with two: {', '.join(wrong[:5])}")
    out.print(
        f"demo: scenario={scenario.name} items={len(scenario.items)} "
        f"events={len(ledger.sent_at_s)} lists={ledger.lists} lost={len(wrong)} "
        f"p50_ms={1000 * percentile(waits, 50):.0f} "
        f"p99_ms={1000 * percentile(waits, 99):.0f} "
        f"after_change={findings.change[0]}/{findings.change[1]} "
        f"asked={findings.fine}/{len(findings.queries)}",
        soft_wrap=True,
    )
    fine = not wrong and findings.fine == len(findings.queries)
    return Exit.DONE if fine else Exit.NO
