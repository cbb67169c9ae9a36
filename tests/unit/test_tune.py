"""`rec tune tower`: what it reads, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from workers.cli import app
from workers.terminal import CommandError
from workers.tune import read

TOUCH = (
    '{{"type":"interaction","event_id":"e{0}","user_id":"u{1}","item_id":"i{2}",'
    '"kind":"{3}","at_ms":{4}}}'
)
VECTORS = '{"type":"item_vectors","item_id":"i9","fused":"AACAPwAAAEA="}'


def written(folder: Path, *lines: str) -> Path:
    file = folder / "events.jsonl"
    file.write_text("\n".join(lines))
    return file


def test_events_are_read_in_order_of_time_with_vectors_of_items(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        TOUCH.format(1, 1, 5, "click", 2_000),
        VECTORS,
        "",
        TOUCH.format(2, 2, 9, "like", 1_000),
        TOUCH.format(3, 2, 5, "impression", 3_000),
    )
    touches, content_NC, hash_N = read(file)
    assert touches.at_ms_E.tolist() == [1_000, 2_000]
    assert touches.mass_E.tolist() == [2.0, 1.0]
    assert len(hash_N) == 2
    assert content_NC is not None
    assert np.array_equal(content_NC, [[1.0, 2.0], [0.0, 0.0]])


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, TOUCH.format(1, 1, 5, "click", 2_000), "{no json")
    with pytest.raises(CommandError, match="line 2"):
        read(file)


def test_a_file_without_interactions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="holds no interaction"):
        read(written(tmp_path, VECTORS))


def test_a_log_that_is_too_short_is_refused_with_the_remedy(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    file = written(tmp_path, TOUCH.format(1, 1, 5, "click", 2_000))
    told = CliRunner().invoke(
        app,
        ["tune", "tower", "--events", str(file), "--storage", str(tmp_path / "journal")],
    )
    assert told.exit_code != 0
    assert "give a longer log" in str(told.exception)
