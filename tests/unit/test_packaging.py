"""The law of imports, read from the AST, and what every file of this house has to be."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("schemas", "encoders", "ranking", "workers", "evaluation")

# Which rooms a room may import besides itself: never back.
MAY_IMPORT = {
    "schemas": set[str](),
    "encoders": {"schemas"},
    "ranking": {"schemas", "encoders"},
    "workers": {"schemas", "encoders", "ranking", "deploy"},
    "evaluation": {"schemas", "encoders", "ranking", "workers"},
    "deploy": set[str](),
}

# Vendors: behind a door of one or two files of workers/, and nowhere else.
VENDORS = ("confluent_kafka", "qdrant_client", "qdrant_edge", "prometheus_client", "faust")
# The pure rooms have no clock, no chance, no environment and no network of their own.
IMPURE = {
    "os",
    "time",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "httpx",
    "urllib.request",
}
BANNED = {
    "schemas": {*VENDORS, *IMPURE, "torch", "numpy", "structlog"},
    "encoders": {*VENDORS, *IMPURE, "structlog"},
    "ranking": {*VENDORS, *IMPURE, "structlog"},
    "workers": set[str](),
    "evaluation": {*VENDORS},
}


def modules_of(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Every dotted name that this file imports, wherever in it."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by a relative name"
            module = node.module or ""
            found |= {module} | {f"{module}.{name.name}" for name in node.names}
    return found


def named(imports: set[str], module: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for name in imports)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]


@pytest.mark.parametrize("room", [*ROOMS, "deploy"])
def test_rooms_import_downwards_only(room: str) -> None:
    for path in modules_of(room):
        first_party = {name.split(".")[0] for name in imports_of(path)} & {*ROOMS, "deploy"}
        back = first_party - MAY_IMPORT[room] - {room}
        assert not back, f"{path.relative_to(ROOT)} imports {back}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_keeps_out_what_is_not_its_business(room: str) -> None:
    for path in modules_of(room):
        imports = imports_of(path)
        for module in BANNED[room]:
            assert not named(imports, module), f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_is_behind_a_door_of_one_or_two_files(vendor: str) -> None:
    files = [path.name for path in modules_of("workers") if named(imports_of(path), vendor)]
    assert len(files) <= 2, f"{vendor} is imported by {files}"


def test_no_room_imports_the_tests() -> None:
    for room in (*ROOMS, "deploy"):
        for path in modules_of(room):
            assert not named(imports_of(path), "tests"), path


@pytest.mark.parametrize("room", ["encoders", "ranking"])
def test_the_pure_rooms_cost_nothing_to_enter(room: str) -> None:
    assert not imports_of(ROOT / room / "__init__.py")


@pytest.mark.parametrize("room", [*ROOMS, "deploy", "tests"])
def test_our_names_are_this_checkout(room: str) -> None:
    found = importlib.import_module(room).__file__
    assert found is not None
    assert Path(found).resolve().is_relative_to(ROOT)


def test_every_module_says_what_it_promises() -> None:
    for room in (*ROOMS, "deploy", "tests", "benchmarks"):
        for path in modules_of(room):
            promise = ast.get_docstring(ast.parse(path.read_text(), str(path)))
            assert promise, f"{path.relative_to(ROOT)} has no docstring"


def test_rec_is_where_the_package_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["rec"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_dependency_has_its_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    section = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    for line in section.splitlines():
        if line.startswith('  "'):
            assert re.search(r'",\s+# \S+', line), f"no reason: {line.strip()}"


def test_the_locks_name_no_host_and_hash_everything() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        text = path.read_text()
        assert not re.search(r"://|--(extra-)?index-url|--find-links|\s@\s|file:", text), (
            path
        )
        locked = re.sub(r"(?m)^#.*\n", "", text).strip()
        for entry in re.split(r"\n(?=\S)", locked):
            assert "--hash=sha256:" in entry, f"{path.name}: {entry.splitlines()[0]}"


def test_no_file_names_a_machine_or_a_registry() -> None:
    # Put together here, so that this file names none either.
    roots = "|".join(
        ("/ro" + "ot/", "/wo" + "rk/", "/tmp" + "/w/", "/ho" + "me/(?!streamrec)")
    )
    hosts = "|".join(("pypi" + r"\.org", r"python" + r"hosted\.org", r"repo1?\.ma" + "ven"))
    forbidden = re.compile(rf"(?<![\w.])(?:{roots})|{hosts}")
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found = forbidden.search(text)
        assert found is None, f"{path.relative_to(ROOT)} names {found and found[0]}"


def test_every_path_in_the_map_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = "|".join((*ROOMS, "deploy", "tests", "benchmarks", "docs", "requirements"))
    paths = set(re.findall(rf"`((?:{rooms})/[\w./-]*)`", text))
    assert paths, "ARCHITECTURE.md names no file"
    missing = sorted(path for path in paths if not (ROOT / path).exists())
    assert not missing
