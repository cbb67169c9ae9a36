"""`rec evaluate` from a file of records to the page, without a network."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from encoders.config import EncoderConfig
from evaluation.baselines.scorer import Scores
from evaluation.baselines.simple import Chance
from evaluation.evaluate import Evaluation, evaluate
from evaluation.protocol import Outcome, Recommender, Split, run
from evaluation.recorded import Event, Log
from evaluation.registry import BASELINES, Entry, Setting, ranked
from evaluation.report import write_report
from evaluation.served import Served
from evaluation.summary import summarise
from schemas import encode
from tests.support.recorded import chains, log_of
from workers.cli import app
from workers.terminal import CommandError

QUICK = "random,popularity-online,item-knn-online,covisitation,covisitation@1h"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A log of 1,200 touches and its catalogue, as `rec produce` takes them."""
    log = chains(200, items=40)
    events, items = tmp_path / "events.jsonl", tmp_path / "items.jsonl"
    events.write_bytes(b"\n".join(encode(event, "json") for event in log.events))
    items.write_bytes(b"\n".join(encode(item, "json") for item in log.items))
    return events, items


def test_a_strangers_log_is_measured_by_one_command(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    events, items = files
    out = tmp_path / "out"
    command = [
        "evaluate", "--events", str(events), "--items", str(items), "--out", str(out),
        "--history", "600", "--limit", "500", "--only", QUICK,
    ]  # fmt: skip
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    told = json.loads((out / "report.json").read_text())
    by_name = {score["name"]: score for score in told["scores"]}
    assert set(by_name) == set(QUICK.split(","))
    assert told["split"] == {"history": 600, "stream": 500}
    assert by_name["covisitation"]["accuracy"]["all"]["hit@10"]["events"] == 500
    assert told["focus"] in {"covisitation", "item-knn-online"}  # chance is no rival
    assert "covisitation@1h" in (out / "report.md").read_text()
    assert {"command", "machine", "commit", "date"} <= set(told["origin"])


def test_a_finished_recommender_is_not_run_again(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    runs: list[str] = []

    def counted(setting: Setting) -> Recommender:
        runs.append(setting.log.name)
        return ranked("counted", Once(runs))

    wanted = Evaluation(
        events=files[0], items=files[1], out=tmp_path / "out", history=600, limit=100,
        resume=True,
    )  # fmt: skip
    entries = {"counted": Entry("floor", "counts", counted)}
    first = evaluate(wanted, entries)
    again = evaluate(wanted, entries)
    assert runs.count("fitted") == 1
    assert first.scores[0].coverage == again.scores[0].coverage
    evaluate(replace(wanted, limit=90), entries)
    assert runs.count("fitted") == 2


@dataclass
class Once:
    """Scores by chance, and says when it is fitted."""

    runs: list[str]
    chance: Chance = field(default_factory=Chance)

    def fit(self, history: Log) -> None:
        self.runs.append("fitted")
        self.chance.fit(history)

    def score(self, user: int, at_ms: int) -> Scores:
        return self.chance.score(user, at_ms)

    def apply(self, event: Event) -> None: ...


def test_what_is_not_installed_costs_its_row_only(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    wanted = Evaluation(
        events=files[0], out=tmp_path / "out", history=600, limit=50,
        only=("als", "popularity"), peers=tmp_path / "no" / "python",
    )  # fmt: skip
    summary = evaluate(wanted)
    assert [score.name for score in summary.scores] == ["popularity"]
    assert "make peers" in summary.not_run["als"]
    assert "make peers" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(CommandError, match="nothing was measured"):
        evaluate(replace(wanted, only=("als",)))


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(CommandError, match="--only magic: known are streamrec"):
        evaluate(Evaluation(only=("magic",)))


@pytest.mark.parametrize("count", [1, 12])
def test_a_page_is_whole_with_few_and_with_many(count: int, tmp_path: Path) -> None:
    log, split = chains(60), Split(200, 100)
    outcomes: list[Outcome] = []
    told = {}
    for n in range(count):
        name = f"chance <{n}>"
        outcomes.append(run(ranked(name, Chance(seed=n)), log, split))
        told[name] = (list(BASELINES.values())[n].family, "any & all")
    summary = summarise(log, split, outcomes, told=told, not_run={"x": "no <weights>"})
    files = write_report(summary, tmp_path, origin={"command": "rec evaluate"})
    page = (tmp_path / "report.html").read_text()
    assert [file.suffix for file in files] == [".json", ".md", ".html"]
    assert "chance &lt;0&gt;" in page
    assert "chance <0>" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    for start in page.split("<svg")[1:]:
        drawn = ElementTree.fromstring("<svg" + start.split("</svg>")[0] + "</svg>")
        assert len(drawn) > 5
    assert ("nan" in page) is False


def test_what_is_served_is_compared_with_others_and_not_with_itself() -> None:
    log, split = chains(60), Split(200, 100)
    outcomes = [
        run(ranked(name, Chance(seed=7)), log, split) for name in ("ours", "ours-2")
    ]
    outcomes.append(run(ranked("other", Chance(seed=8)), log, split))
    told = {"ours": ("served", ""), "ours-2": ("served", ""), "other": ("floor", "")}
    scores = summarise(log, split, outcomes, told=told, not_run={}).scores
    rivals = {score.name: {name for name, _ in score.against.values()} for score in scores}
    assert rivals["ours"] == rivals["ours-2"] == {"other"}
    assert rivals["other"] <= {"ours", "ours-2"}


def test_what_a_person_touched_leads_on_whatever_was_saved_between() -> None:
    """Trends are saved each 1,000 events; who acts next goes on from where he was."""
    others = [(f"u{n}", "CDEFGHIJ"[n % 8]) for n in range(999)]
    walked = [*others, ("first", "A"), ("first", "B"), ("second", "A"), ("second", "B")]
    log = log_of(walked, items="ABCDEFGHIJ")
    config = EncoderConfig(image="none", audio="none", video="none", sensor="none")
    served = Served(
        items=log.items,
        vector_IW=np.eye(10, 384, dtype=np.float32),
        config=config,
        model=False,
    )
    outcome = run(served, log, Split(1_001, 2))
    assert outcome.rank_E[1] == 1
