"""Pages for people, from the code: docs/metrics.md and docs/configuration.md."""

import ast
import inspect
import textwrap
import types
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from workers.config import PREFIX as VARIABLE
from workers.config import Config
from workers.metric_table import METRICS, STAGES, Label, Metric, series

NOTE = "<!-- made by `make docs` from {source}: change that, not this -->"


def metrics_page() -> str:
    """docs/metrics.md"""
    parts = [
        "# Metrics",
        NOTE.format(source="workers/metric_table.py"),
        ("Every worker shows these on `/metrics` of its HTTP port, beside the usual `process_*` "
        "and `python_*` ones. Base units; `_total` is on counters alone; labels have closed "
        "sets, and a value outside its set is counted as `other`. No label ever holds the id "
        "of a user, an item or an event."),
        "A gauge that was never set is absent: absent means unknown, and 0 means 0.",
        table(
            ("metric", "kind", "shown by", "is"),
            (
                (f"[`{series(m)}`](#{series(m)})", m.kind, ", ".join(m.roles), m.help)
                for m in METRICS
            ),
        ),
        *(_metric(metric) for metric in METRICS),
        "## Stages",
        *(f"`{role}`: {', '.join(f'`{name}`' for name in names)}" for role, names in STAGES.items()),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _metric(metric: Metric) -> str:
    facts = [f"{metric.kind}, {metric.unit}; shown by {' and '.join(metric.roles)}."]
    facts += [f"Label `{label.name}`: {_values(label)}." for label in metric.labels]
    if metric.buckets:
        facts.append(f"Buckets up to: {', '.join(f'{b:g}' for b in metric.buckets)}.")
    lines = "\n".join(f"- {fact[0].upper()}{fact[1:]}" for fact in facts)
    return f"## {series(metric)}\n\n{metric.help}\n\n**To do:** {metric.act}\n\n{lines}"


def _values(label: Label) -> str:
    return (
        ", ".join(f"`{value}`" for value in label.values) if label.values else label.bound
    )


def configuration_page() -> str:
    """docs/configuration.md"""
    parts = [
        "# Configuration",
        NOTE.format(source="workers/config.py and the files that it imports"),
        (f"Settings are environment variables `{VARIABLE}<SECTION>__<NAME>`, read once at start. "
        "A name that is not here stops the start, and so does a value that does not fit. Lists "
        "are written with commas or as JSON, tables as JSON."),
        *(
            _section(field.name, field.type)
            for field in msgspec.structs.fields(Config)
        ),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _section(name: str, section: type[msgspec.Struct]) -> str:
    said = sentences(section)
    rows = [
        (
            f"`{VARIABLE}{name.upper()}__{field.name.upper()}`",
            type_in_words(field.type),
            _default(field),
            said[field.name],
        )
        for field in msgspec.structs.fields(section)
    ]
    about = inspect.cleandoc(section.__doc__ or "").replace("\n", " ")
    return f"## {name}\n\n{about}\n\n" + table(("variable", "value", "default", "is"), rows)


def sentences(section: type[msgspec.Struct]) -> dict[str, str]:
    """What follows each field in the source, as `\"\"\"one sentence\"\"\"`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(section)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for field, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            said = text.value if isinstance(text, ast.Constant) else ""
            found[field.target.id] = " ".join(str(said).split())
    return found


def type_in_words(kind: Any) -> str:
    """A field's type for people: `whole number, at least 1`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits = [_limits(meta) for meta in inner[1:] if isinstance(meta, Meta)]
        return ", ".join([type_in_words(inner[0]), *filter(None, limits)])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(type_in_words(one) for one in inner)
    if origin in (list, tuple):
        return f"list of {type_in_words(inner[0])}"
    if origin is dict:
        return f"table of {type_in_words(inner[1])}"
    words = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
    return words.get(kind, "nothing" if kind is type(None) else str(kind))


def _limits(meta: Meta) -> str:
    said = (
        ("at least", meta.ge),
        ("over", meta.gt),
        ("at most", meta.le),
        ("under", meta.lt),
    )
    return ", ".join(f"{word} {value:g}" for word, value in said if value is not None)


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if value is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if value is msgspec.NODEFAULT:
        return "needed"
    if value in ("", [], {}, ()):
        return "empty"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)
