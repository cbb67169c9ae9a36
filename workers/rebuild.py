"""`rec rebuild`: forget the users in the store, so that the next start folds the log afresh.

Needed after a change of weights or half-lives (another law), and right after a store was
damaged. Lists already given are not given again: the group's offsets are on the broker.
"""

import json
import shutil
import sys
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from workers import http
from workers.bootstrap import for_tools
from workers.config import Config, topic
from workers.terminal import CommandError, Exit, complain, console


def rebuild(*, yes: bool = False) -> int:
    """Removes them after a confirmation. Refuses while recommend workers run here."""
    config = for_tools()
    running = [w for w in http.announced() if w.role == "recommend" and w.alive()]
    if running:
        names = ", ".join(f"{w.worker} (pid {w.pid})" for w in running)
        raise CommandError(f"recommend workers run here: {names}; stop them first")
    warn_of_gaps(config)
    if config.qdrant.url == ":memory:":
        console().print("the store is in memory: every start folds the log afresh")
        return Exit.DONE
    if config.qdrant.url:
        return _server(config, yes=yes)
    return _embedded(config, yes=yes)


def warn_of_gaps(config: Config) -> None:
    """What has left the log can't be folded again; the person who decides has to know."""
    for number, first in sorted(_gaps(config).items()):
        complain(
            f"partition {number} of {topic(config.kafka, 'events')} begins at offset {first}: "
            "what came before has left the log and will be forgotten"
        )


def _gaps(config: Config) -> dict[int, int]:
    from workers.kafka import KafkaTail

    tail = KafkaTail(config.kafka, topics=[topic(config.kafka, "events")], from_start=True)
    try:
        return {number: first for (_, number), first in tail.starts.items() if first > 0}
    finally:
        tail.close()


def _embedded(config: Config, *, yes: bool) -> int:
    folder = Path(config.qdrant.path) / config.kafka.worker
    if not folder.is_dir():
        console().print(
            f"{folder} is not there: the next start folds the log afresh anyway"
        )
        return Exit.DONE
    _confirm(f"remove {folder}, the users of worker {config.kafka.worker}?", yes=yes)
    shutil.rmtree(folder)
    console().print(
        f"{folder} is removed: start `rec worker recommend`, which folds the log afresh",
        soft_wrap=True,
    )
    return Exit.DONE


def _server(config: Config, *, yes: bool) -> int:
    names = [config.qdrant.users, config.qdrant.progress]
    _confirm(
        f"delete the collections {' and '.join(names)} on {config.qdrant.url}, the users of ALL "
        "workers? (stop those on other machines first)",
        yes=yes,
    )
    for name in names:
        _delete(config, name)
    console().print("deleted: start the workers, which make them anew and fold the log")
    return Exit.DONE


def _delete(config: Config, collection: str) -> None:
    url = f"{config.qdrant.url.rstrip('/')}/collections/{collection}"
    headers = {"api-key": config.qdrant.api_key} if config.qdrant.api_key else {}
    try:
        with urlopen(
            Request(url, headers=headers, method="DELETE"), timeout=60.0
        ) as answer:
            json.load(answer)
    except HTTPError as error:
        if error.code != 404:
            raise CommandError(f"{url} was not deleted: {error}", Exit.MISSING) from error
    except (URLError, TimeoutError, ValueError) as error:
        raise CommandError(f"{url} was not deleted: {error}", Exit.MISSING) from error


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Say so with --yes", Exit.USAGE)
    console().print(f"{question} \\[y/N] ", end="")
    if input().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was changed")
