"""Generated documents: they are current, they are valid, and they say what is written."""

import base64
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from schemas import TYPES, encode
from schemas.examples import EXAMPLES
from workers import documents
from workers.config import Config, load_config
from workers.document_asyncapi import document
from workers.document_pages import sentences
from workers.document_schemas import record_schemas
from workers.metric_table import METRICS, series
from workers.topic_specs import topic_specs

ROOT = Path(__file__).parents[2]
every = pytest.mark.parametrize("name", EXAMPLES)
OFFICIAL = "@asyncapi/specs@6.11.1"


def test_every_generated_file_is_current():
    stale = [str(path.relative_to(ROOT)) for path in documents.stale()]
    assert stale == [], "run `make docs` and commit what it writes"


def test_nothing_lies_among_the_schemas_that_is_not_generated():
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "docs/schemas").iterdir()}
    assert there == {path for path in documents.pages() if path.startswith("docs/schemas/")}


def test_writing_touches_only_what_is_stale(tmp_path: Path):
    assert len(documents.write(tmp_path)) == len(documents.pages())
    assert documents.stale(tmp_path) == documents.write(tmp_path) == []
    changed = tmp_path / "docs/topics.md"
    changed.write_text("by hand")
    assert documents.write(tmp_path) == [changed]


# -- JSON Schemas ----------------------------------------------------------------------------


def schema_of(name: str) -> Draft202012Validator:
    schema = json.loads((ROOT / f"docs/schemas/{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def in_base64(tree: Any) -> Any:
    """What came from msgpack, with bytes as JSON would have them."""
    if isinstance(tree, bytes):
        return base64.b64encode(tree).decode()
    if isinstance(tree, dict):
        return {key: in_base64(value) for key, value in tree.items()}
    return [in_base64(value) for value in tree] if isinstance(tree, list) else tree


@every
def test_what_we_write_is_what_the_schema_says_in_both_encodings(name: str):
    validator = schema_of(name)
    validator.validate(json.loads(encode(EXAMPLES[name], "json")))
    validator.validate(in_base64(msgpack.unpackb(encode(EXAMPLES[name], "msgpack"))))


@every
def test_the_schema_wants_the_type_and_the_fields_that_the_reader_wants(name: str):
    validator = schema_of(name)
    tree = json.loads(encode(EXAMPLES[name], "json"))
    needed = [f.name for f in msgspec.structs.fields(EXAMPLES[name]) if f.required]
    for field in ["type", *needed]:
        without = {key: value for key, value in tree.items() if key != field}
        assert not validator.is_valid(without), field
        assert not validator.is_valid(tree | {field: {"not": "this"}}), field
    assert not validator.is_valid(tree | {"type": "poke"})
    assert validator.is_valid(tree | {"a_field_of_tomorrow": [1]})


@pytest.mark.parametrize("user_id", ["", "u" * 257, "u\n1", "u\x00", "u\x85"])
def test_the_schema_refuses_ids_that_the_reader_refuses(user_id: str):
    visit = json.loads(encode(EXAMPLES["visit"], "json"))
    assert not schema_of("visit").is_valid(visit | {"user_id": user_id})


def test_bytes_and_vectors_are_marked_as_base64():
    properties = record_schemas()["signal"]["properties"]
    assert properties["vector"]["anyOf"][0]["contentEncoding"] == "base64"
    assert "float32" in properties["vector"]["anyOf"][0]["description"]


# -- AsyncAPI --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
    return read


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    children = tree.values() if isinstance(tree, dict) else tree
    for child in children if isinstance(tree, (dict, list)) else ():
        yield from nodes(child)


def resolved(api: dict[str, Any], ref: str) -> Any:
    """What a reference names, references on the way followed."""
    found: Any = api
    for step in ref.removeprefix("#/").split("/"):
        found = found[step]
        if isinstance(found, dict) and "$ref" in found:
            found = resolved(api, found["$ref"])
    return found


def test_another_yaml_reader_reads_what_was_meant(api: dict[str, Any]):
    assert api == json.loads(json.dumps(document()))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(max_codepoint=0xFFFF,
            exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\ufeff\ufffe\uffff")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc-:# .1", min_size=1), inner),
        max_leaves=20,
    )
)  # fmt: skip
def test_any_tree_survives_being_written_as_yaml(tree: Any):
    assert yaml.safe_load(documents.yaml_of(tree)) == tree


def test_every_reference_resolves(api: dict[str, Any]):
    refs = [node["$ref"] for node in nodes(api) if isinstance(node.get("$ref"), str)]
    assert len(refs) > 100
    for ref in refs:
        assert ref.startswith("#/")
        assert resolved(api, ref), ref


def test_what_asyncapi_3_requires_is_there(api: dict[str, Any]):
    assert api["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= api["info"].keys()
    for server in api["servers"].values():
        assert {"host", "protocol"} <= server.keys()
    for name, operation in api["operations"].items():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        assert channel.startswith("#/channels/")
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/"), name
    keys = [*api["channels"], *api["operations"]]
    keys += [key for part in api["components"].values() for key in part]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", key) for key in keys)


def test_each_topic_is_a_channel_with_its_settings_and_records(api: dict[str, Any]):
    for spec in topic_specs(keep_events=True):
        channel = api["channels"][spec.role]
        kafka = channel["bindings"]["kafka"]
        assert channel["address"] == kafka["topic"] == f"rec.{spec.role}.v1"
        assert kafka["partitions"] == (1 if spec.single else 6)
        assert kafka["topicConfiguration"]["cleanup.policy"] == [spec.cleanup]
        assert kafka["topicConfiguration"]["max.message.bytes"] == spec.max_message_bytes
        tags = {str(record.__struct_config__.tag) for record in TYPES.get(spec.role, ())}
        assert tags | {f"{tag}-json" for tag in tags} <= channel["messages"].keys()


def test_each_message_says_its_encoding_its_key_and_its_headers(api: dict[str, Any]):
    for name, message in api["components"]["messages"].items():
        assert message["contentType"]
        assert "key" in message["bindings"]["kafka"], name
        if name in EXAMPLES or name.removesuffix("-json") in EXAMPLES:
            kind = "json" if name.endswith("-json") else "msgpack"
            headers = message["headers"]["properties"]
            assert headers["content-type"]["const"] == f"application/{kind}"
            assert {"ce_id", "ce_type", "ce_time", "traceparent"} <= headers.keys()
    dead = api["components"]["messages"]["dead_letter"]["headers"]
    assert "__connect.errors.exception.message" in dead["required"]


@every
def test_the_examples_in_the_document_are_valid_by_its_own_schemas(
    api: dict[str, Any], name: str
):
    for message in (name, f"{name}-json"):
        described = api["components"]["messages"][message]
        validator = Draft7Validator(
            {**described["payload"], "components": api["components"]}
        )
        [example] = described["examples"]
        validator.validate(example["payload"])
        assert not validator.is_valid(example["payload"] | {"type": "poke"})


def test_the_official_schema_of_asyncapi_accepts_the_document(
    api: dict[str, Any], tmp_path: Path
):
    """An extra: only where npm is at hand and its registry answers."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed; the tests beside this one do without")
    got = subprocess.run(
        [npm, "pack", OFFICIAL, "--silent"], cwd=tmp_path, capture_output=True, check=False
    )
    if got.returncode:
        pytest.skip(f"{OFFICIAL} could not be had: {got.stderr.decode()[-200:]}")
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/schemas/3.0.0.json")
        assert member is not None
        official = json.load(member)
    errors = list(Draft7Validator(official).iter_errors(api))
    assert errors == []


# -- pages -----------------------------------------------------------------------------------


def settings() -> Iterator[tuple[str, type[msgspec.Struct], msgspec.structs.FieldInfo]]:
    for section in msgspec.structs.fields(Config):
        for field in msgspec.structs.fields(section.type):
            yield section.name, section.type, field


def test_every_setting_is_on_the_configuration_page_with_a_sentence():
    page = (ROOT / "docs/configuration.md").read_text()
    for section, struct, field in settings():
        variable = f"STREAMREC_{section.upper()}__{field.name.upper()}"
        assert f"| `{variable}` |" in page
        assert sentences(struct)[field.name], f"{variable} has no sentence after its field"


def test_every_default_on_the_configuration_page_is_taken_as_a_value():
    page = (ROOT / "docs/configuration.md").read_text()
    rows = re.findall(r"^\| `(STREAMREC_\w+)` \| .* \| `(.+?)` \| ", page, re.MULTILINE)
    assert len(rows) > 30
    assert load_config(dict(rows)) == load_config({})


def test_every_metric_is_on_the_metrics_page_with_what_to_do():
    page = (ROOT / "docs/metrics.md").read_text()
    for metric in METRICS:
        assert f"\n## {series(metric)}\n" in page
        assert metric.act in page


def test_links_between_the_pages_lead_somewhere():
    for page in ("topics.md", "metrics.md", "configuration.md"):
        text = (ROOT / "docs" / page).read_text()
        headings = {
            line.removeprefix("## ") for line in text.splitlines() if line[:3] == "## "
        }
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if target.startswith("#"):
                assert target[1:] in headings, f"{page}: {target}"
            else:
                assert (ROOT / "docs" / target).exists(), f"{page}: {target}"
