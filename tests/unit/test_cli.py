"""`rec` as a program: at once, honest exit codes, one-line errors, and documented."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.support.rec import ROOT, Done, run_rec
from workers.cli import app
from workers.terminal import EXIT_CODES, Exit

DOCS = (ROOT / "docs" / "cli.md").read_text()


def rec(*words: str, cwd: Path = ROOT, **env: str) -> Done:
    """Runs `rec` with these words, and with no settings but these."""
    return run_rec(*words, cwd=cwd, env=env, limit_s=60.0)


def commands(tree: object = None, path: str = "rec") -> list[tuple[str, list[str]]]:
    """Every command of the app with the names of its options."""
    tree = tree or typer.main.get_command(app)
    below = [
        found
        for name, child in getattr(tree, "commands", {}).items()
        for found in commands(child, f"{path} {name}")
    ]
    if below and not tree.invoke_without_command:  # type: ignore[attr-defined]
        return below
    options = [
        name
        for parameter in tree.params  # type: ignore[attr-defined]
        for name in parameter.opts
        if name.startswith("--") and name != "--help"
    ]
    return [(path, options), *below]


def test_help_costs_less_than_half_a_second_of_this_machine():
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = spent()
    assert rec("--help").returncode == Exit.DONE
    assert spent() - before < 0.5


def test_help_loads_nothing_heavy():
    heavy = "torch numpy confluent_kafka httpx rich structlog msgspec"
    program = (
        f"import sys, workers.cli; print([m for m in {heavy.split()} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_products_of_a_worker_take_one_thread_unless_told_otherwise():
    """Said before numpy is loaded: after that nobody listens."""
    told = (
        "import os, sys; from workers.cli import options; options(); "
        "print('numpy' in sys.modules, os.environ['OPENBLAS_NUM_THREADS'])"
    )
    own = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    for more, number in ({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3"):
        done = subprocess.run(
            [sys.executable, "-c", told], cwd=ROOT, env=own | more, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        assert done.stdout.split() == ["False", number]


def test_every_command_and_option_is_in_the_documentation():
    for command, options in commands():
        parts = command.split()
        known = command in DOCS or (" ".join(parts[:-1]) in DOCS and parts[-1] in DOCS)
        assert known, f"docs/cli.md does not name `{command}`"
        for option in options:
            assert option in DOCS, f"docs/cli.md does not name {option} of `{command}`"


def test_the_documentation_names_no_command_or_option_that_is_not_there():
    options = {option for _, found in commands() for option in found} | {"--debug"}
    assert set(re.findall(r"--[a-z][a-z-]+", DOCS)) <= options
    names = {command for command, _ in commands()}
    for said in re.findall(r"`(rec [^`\[\n]+?)(?: \[|`)", DOCS):
        words = [word for word in said.split() if word.islower() and word.isalpha()]
        assert any(name.startswith(" ".join(words)) for name in names), said


def test_exit_codes_are_in_the_help_and_in_the_documentation():
    shown = " ".join(rec("--help").stdout.split())
    for code, meaning in EXIT_CODES.items():
        assert f"{int(code)} {meaning}" in shown
        assert f"| {int(code)} |" in DOCS


@pytest.mark.parametrize(
    ("words", "env", "code", "said"),
    [
        pytest.param(["nonsense"], {}, Exit.USAGE, "No such command", id="unknown command"),
        pytest.param(["watch"], {}, Exit.USAGE, "name one user, or --all", id="watch whom"),
        pytest.param(
            ["produce", "-", "--wire", "xml"], {}, Exit.USAGE, "msgpack or json", id="wire"
        ),
        pytest.param(
            ["topics", "create"],
            {"STREAMREC_KAFKA__BOOTSTRAPS": "x"},
            Exit.USAGE,
            "STREAMREC_KAFKA__BOOTSTRAPS is not a setting",
            id="unknown setting",
        ),
        pytest.param(
            ["topics", "create"],
            {"STREAMREC_KAFKA__BOOTSTRAP": "nonsense"},
            Exit.USAGE,
            "is not host:port",
            id="not an address",
        ),
        pytest.param(
            ["topics", "create"],
            {"STREAMREC_KAFKA__BOOTSTRAP": "127.0.0.1:1"},
            Exit.MISSING,
            "no broker listens on 127.0.0.1:1",
            id="nobody listens",
        ),
        pytest.param(
            ["produce", "nowhere.jsonl"],
            {},
            Exit.MISSING,
            "rec dev kafka up",
            id="no broker at all",
        ),
        pytest.param(
            ["user", "u1"], {}, Exit.MISSING, "rec worker recommend", id="no worker"
        ),
        pytest.param(
            ["why", "u1", "i1", "--url", "http://127.0.0.1:1"],
            {},
            Exit.MISSING,
            "can't be asked",
            id="a worker that is not there",
        ),
        pytest.param(["dev", "kafka", "status"], {}, Exit.NO, "", id="no laptop Kafka"),
    ],
)
def test_what_goes_wrong_is_one_line_with_a_remedy_and_a_code(
    tmp_path, words, env, code, said
):
    done = rec(*words, cwd=tmp_path, HOME=str(tmp_path), **env)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    if code is Exit.MISSING:
        assert len(done.stderr.splitlines()) == 1


def test_debug_shows_where_an_error_comes_from(tmp_path):
    done = rec("--debug", "watch", cwd=tmp_path, HOME=str(tmp_path))
    assert done.returncode == Exit.NO
    assert "Traceback" in done.stderr


def test_the_doctor_says_what_is_wrong_and_masks_secrets(tmp_path):
    done = rec(
        "doctor", "--json", cwd=tmp_path, HOME=str(tmp_path), STREAMREC_QDRANT__API_KEY="s3cret",
        STREAMREC_KAFKA__OPTIONS='{"sasl.password":"s3cret","client.rack":"r1"}',
    )  # fmt: skip
    assert done.returncode == Exit.NO
    assert '"what": "broker", "level": "fail"' in done.stdout
    assert "rec dev kafka up" in done.stdout
    assert "s3cret" not in done.stdout
    assert "r1" in done.stdout


def test_the_demo_empties_no_folder_that_is_not_its_own(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    wheel = tmp_path / "none.whl"
    done = rec("demo", "--folder", str(tmp_path), "--wheel", str(wheel), HOME=str(tmp_path))
    assert done.returncode == Exit.USAGE
    assert "no folder of the demo" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
