"""`rec watch`: lists as they arrive, read as any outside consumer reads them (committed)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from schemas import Slate, decode
from workers.ask import moment
from workers.bootstrap import for_tools
from workers.config import topic
from workers.ports import Record
from workers.terminal import CommandError, Exit, console, say_json
from workers.titles import Titles, titles

if TYPE_CHECKING:
    from rich.table import Table

WAIT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is watched, and until when. No user: everybody's."""

    user: str = ""
    count: int = 0
    timeout_s: float = 0.0
    from_start: bool = False
    as_json: bool = False


def watch_lists(watching: Watch) -> int:
    """Shows lists until there were enough, or time is up. Exit code 1: fewer than asked."""
    if watching.count < 0 or watching.timeout_s < 0:
        raise CommandError("--count and --timeout are 0 or more", Exit.USAGE)
    config = for_tools()
    from workers.kafka import KafkaTail

    tail = KafkaTail(
        config.kafka,
        topics=[topic(config.kafka, "recommendations")],
        from_start=watching.from_start,
    )
    known = titles(config)
    say = _say_json if watching.as_json else _say_table
    if not watching.as_json:
        whose = watching.user or "everybody"
        console(stderr=True).print(f"watching lists of {whose} (Ctrl-C ends)", markup=False)
    try:
        shown = _follow(watching, tail.refresh, known, say)
    finally:
        tail.close()
        known.close()
    return Exit.DONE if shown >= watching.count else Exit.NO


def _follow(
    watching: Watch,
    refresh: Callable[..., list[Record]],
    known: Titles,
    say: Callable[[str, Slate | None, Titles], None],
) -> int:
    shown = 0
    deadline = time.monotonic() + (watching.timeout_s or float("inf"))
    while (left_s := deadline - time.monotonic()) > 0:
        for record in refresh(limit=100, timeout_s=min(left_s, WAIT_S)):
            user = (record.key or b"").decode(errors="replace")
            if watching.user not in ("", user):
                continue
            known.follow()
            say(user, _slate(record), known)
            shown += 1
            if shown == watching.count:
                return shown
    return shown


def _slate(record: Record) -> Slate | None:
    """The list; None says that the user was erased."""
    if record.value is None:
        return None
    slate = decode("recommendations", record.value, record.header("content-type"))
    assert isinstance(slate, Slate)
    return slate


def _say_json(user: str, slate: Slate | None, known: Titles) -> None:
    if slate is None:
        say_json({"type": "slate", "user_id": user, "erased": True})
        return
    tree: dict[str, Any] = msgspec.to_builtins(slate)
    for item in tree["items"]:
        item["title"] = known.of(item["item_id"])
    say_json(tree)


def _say_table(user: str, slate: Slate | None, known: Titles) -> None:
    out = console()
    if slate is None:
        out.print(f"{user}: erased, no list", markup=False)
        return
    out.print(table_of(slate, known.both))


def table_of(
    slate: Slate,
    title: Callable[[str], str],
    *,
    because: Callable[[str], str] | None = None,
    limit: int = 0,
) -> "Table":
    """A list as a table: place, title, score, where from, why. `because` names a past item."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    causes = ", ".join(slate.caused_by[:3]) + (" …" if len(slate.caused_by) > 3 else "")
    table = Table(
        title=escape(f"{slate.user_id}, as of {moment(slate.as_of_ms)}, after {causes}"),
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 1),
        show_header=not limit,
    )
    for name, justify in (
        ("", "right"),
        ("item", "left"),
        ("score", "right"),
        ("why", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for item in slate.items[: limit or None]:
        table.add_row(
            str(item.rank),
            Text(title(item.item_id), style="bold" if item.rank <= 3 else ""),
            f"{item.score:.3f}",
            Text(_why(item.source, item.reasons, because or title), style="dim"),
        )
    if not slate.items:
        table.add_row("", "an empty list: nothing may be listed", "", "")
    return table


def _why(source: str, reasons: list[Any], title: Callable[[str], str]) -> str:
    if not reasons:
        return source
    said = [
        f"{title(reason.because)} ({reason.modality + ' ' if reason.modality else ''}"
        f"{reason.weight:.2f})"
        for reason in reasons
    ]
    return f"{source}: " + ", ".join(said)
