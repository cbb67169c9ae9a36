"""`rec user` and `rec why`: asked of the workers that run here, shown in words.

An embedded store has one opener, so the worker that owns a user is the one to ask. Which one
that is nobody needs to know: all that announced themselves are asked.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from workers.terminal import CommandError, Exit, console, say_json

PATIENCE_S = 10.0
Titles = Callable[[str], str]


def user(user_id: str, *, url: str = "", as_json: bool = False) -> int:
    """What the worker that owns this user knows of it."""
    return _show("/user", {"user_id": user_id}, words_of_user, url=url, as_json=as_json)


def why(user_id: str, item_id: str, *, url: str = "", as_json: bool = False) -> int:
    """Why this item is or is not in this user's lists."""
    ids = {"user_id": user_id, "item_id": item_id}
    return _show("/why", ids, words_of_why, url=url, as_json=as_json)


def words_of_user(known: Mapping[str, Any], title: Titles) -> list[str]:
    """Lines that say what is known of a user."""
    lines = [
        (
            f"{known['user_id']}, in partition {known['partition']}, "
            f"as of {moment(known['as_of_ms'])} (last record applied: offset {known['applied']})"
        ),
        (
            f"{known['items']} items touched, {known['seen']} of them count as seen; "
            f"{known['ring']} events at hand, {known['undone']} taken back, "
            f"{known['shown']} impressions, {known['said']} things said or shown"
        ),
    ]
    if known["erased_at_ms"] is not None:
        lines.append(f"erased: all up to {moment(known['erased_at_ms'])} is forgotten")
    if known["heaviest"]:
        lines += ["", "What weighs most"]
        lines += [
            f"  {one['weight']:+8.3f}  {title(one['item_id'])}" for one in known["heaviest"]
        ]
    if known["newest"]:
        lines += ["", "Newest events"]
        lines += [
            f"  {moment(one['at_ms'])}  {did(one['kind'], one['value'])}: "
            f"{title(one['item_id'])}"
            for one in known["newest"]
        ]
    return lines


def words_of_why(known: Mapping[str, Any], title: Titles) -> list[str]:
    """Lines that say what speaks for and against an item."""
    lines = [f"{title(known['item_id'])}, for {known['user_id']}"]
    if known["barred"]:
        lines.append(f"not listed: {'; '.join(known['barred'])}")
    elif not known["indexed"]:
        lines.append("not listed by interest: it has no vector (yet)")
    elif known["rank"] is None:
        lines.append("beyond the first 1,000, or nothing is known of the user's interest")
    else:
        lines.append(f"number {known['rank']} of all that may be listed now")
    lines.append(f"popularity {known['popularity']:g}")
    if known["because"]:
        lines += ["", "What speaks for it (+) and against it (-): share = mass x likeness"]
        lines += [
            f"  {one['share']:+8.3f} = {one['mass']:+7.3f} x {one['likeness']:+.3f}  "
            f"{title(one['item_id'])}"
            for one in known["because"]
        ]
    return lines


def did(kind: str, value: float) -> str:
    """An event in words: `rating 5`, `dwell 12 s`, `click`."""
    unit = {"rating": "", "dwell": " s"}.get(kind)
    return kind if unit is None else f"{kind} {value:g}{unit}"


def moment(at_ms: int) -> str:
    """A time of ours as people read it (UTC)."""
    if at_ms < 0:
        return "the beginning"
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def _show(
    path: str,
    ids: Mapping[str, str],
    words: Callable[[Mapping[str, Any], Titles], list[str]],
    *,
    url: str,
    as_json: bool,
) -> int:
    known = ask(path, ids, urls=[url] if url else running())
    if as_json:
        say_json(known)
    else:
        out = console()
        for line in words(known, titled()):
            out.print(line, markup=False, soft_wrap=True)
    return Exit.DONE


def running() -> list[str]:
    """Where the recommend workers of this folder listen."""
    from workers import http

    found = [w.url for w in http.announced() if w.role == "recommend" and w.alive()]
    if not found:
        raise CommandError(
            f"no recommend worker runs here (none announced itself in {http.FOLDER}): start "
            "`rec worker recommend` in this folder, or name one with --url http://host:port",
            Exit.MISSING,
        )
    return found


def ask(path: str, ids: Mapping[str, str], *, urls: list[str]) -> dict[str, Any]:
    """The first worker's answer that knows. Raises CommandError: nobody does (1), or none
    could be reached (3)."""
    said, unreached = "", 0
    for url in urls:
        try:
            with urlopen(
                f"{url.rstrip('/')}{path}?{urlencode(ids)}", timeout=PATIENCE_S
            ) as got:
                return dict(json.load(got))
        except HTTPError as error:
            said = str(json.load(error).get("error", error))
            if error.code != 404:
                raise CommandError(f"{url} says: {said}", Exit.MISSING) from error
        except (URLError, TimeoutError, ValueError) as error:
            said, unreached = f"{url} can't be asked: {error}", unreached + 1
    raise CommandError(said, Exit.MISSING if unreached == len(urls) else Exit.NO)


def titled() -> Titles:
    """Item ids to titles, read from the items topic; ids alone without a broker."""
    from workers.bootstrap import for_tools
    from workers.ports import FatalError, TransientError
    from workers.titles import titles

    try:
        known = titles(for_tools())
    except (CommandError, FatalError, TransientError):
        return lambda item_id: item_id
    known.close()
    return known.both
