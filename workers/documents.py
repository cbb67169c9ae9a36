"""Every page and file that is generated from the code: `make docs` writes them, a test
compares them with what is there.

Pure functions give the texts; only `write` touches files.
"""

import json
import re
from pathlib import Path
from typing import Any

from deploy.grafana import dashboard
from workers import document_asyncapi, document_encoders, document_pages, document_topics
from workers.document_schemas import record_schemas

ROOT = Path(__file__).resolve().parents[1]
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")
_NOT_TEXT = re.compile(r"(?i)(true|false|null|yes|no|on|off|y|n)")


def pages() -> dict[str, str]:
    """The text of every generated file by its path, seen from the project's root."""
    made = {
        "docs/metrics.md": document_pages.metrics_page(),
        "docs/configuration.md": document_pages.configuration_page(),
        "docs/encoders.md": document_encoders.encoders_page(),
        "docs/topics.md": document_topics.topics_page(),
        "docs/asyncapi.yaml": "# made by `make docs` from schemas/ and workers/\n"
        + yaml_of(document_asyncapi.document()),
        "deploy/grafana/dashboards/streamrec.json": dashboard.text(),
    }
    for tag, schema in record_schemas().items():
        text = json.dumps(schema, indent=2, ensure_ascii=False)
        made[f"docs/schemas/{tag}.json"] = text + "\n"
    return made


def stale(folder: Path = ROOT) -> list[Path]:
    """Generated files that are missing or not what the code says now."""
    return [
        folder / name
        for name, text in pages().items()
        if not (folder / name).is_file() or (folder / name).read_text() != text
    ]


def write(folder: Path = ROOT) -> list[Path]:
    """Writes what is stale; returns the paths."""
    made, changed = pages(), stale(folder)
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[str(path.relative_to(folder))])
    return changed


def yaml_of(tree: Any, *, depth: int = 0) -> str:
    """Maps, lists and scalars as YAML, one entry a line; a library for reading it back is a
    matter of tests alone."""
    pad = "  " * depth
    if isinstance(tree, dict) and tree:
        return "".join(f"{pad}{_scalar(k)}:{_below(v, depth)}" for k, v in tree.items())
    if isinstance(tree, list) and tree:
        return "".join(f"{pad}-{_below(v, depth)}" for v in tree)
    return f"{pad}{_scalar(tree)}\n"


def _below(value: Any, depth: int) -> str:
    if isinstance(value, (dict, list)) and value:
        return "\n" + yaml_of(value, depth=depth + 1)
    return f" {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    """Plain where nobody could take it for something else, otherwise as JSON writes it."""
    if (
        isinstance(value, str)
        and _PLAIN.fullmatch(value)
        and not _NOT_TEXT.fullmatch(value)
    ):
        return value
    return json.dumps(value, ensure_ascii=False)
