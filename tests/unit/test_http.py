"""The worker's HTTP port: it tells the truth, asks the loop, and is found by its file."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.support.waiting import wait_for
from workers import http
from workers.config import HttpConfig
from workers.health import Health, Question, Questions
from workers.http import Announced, Server
from workers.ports import TransientError


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Worker:
    """What a loop would hold, and its port."""

    server: Server
    clock: Clock
    health: Health
    questions: Questions
    folder: Path
    client: httpx.Client = field(default_factory=httpx.Client)

    def get(self, target: str) -> httpx.Response:
        return self.client.get(self.server.url + target)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    clock = Clock()
    health, questions = Health(clock=clock, limit_s=30.0), Questions(size=2, limit_s=5.0)
    server = http.serve(
        HttpConfig(), health, questions, role="recommend", worker="w-1", folder=tmp_path
    )
    made = Worker(server, clock, health, questions, tmp_path)
    with made.client:
        yield made
    server.close()


@contextmanager
def loop(questions: Questions, handler: Callable[[Question], object]) -> Iterator[set[str]]:
    """A loop that answers once a turn; gives the names of the threads that answered."""
    stop, threads = threading.Event(), set[str]()

    def handled(question: Question) -> object:
        threads.add(threading.current_thread().name)
        return handler(question)

    def turn() -> None:
        while not stop.wait(0.002):
            questions.answer(handled)

    thread = threading.Thread(target=turn, name="the loop")
    thread.start()
    try:
        yield threads
    finally:
        stop.set()
        thread.join()


def test_a_worker_is_alive_while_its_loop_turns_and_not_when_it_stands(worker: Worker):
    worker.health.beat(worker.clock())
    worker.clock.now += 29
    assert worker.get("/healthz").status_code == 200
    worker.clock.now += 2
    answer = worker.get("/healthz")
    assert answer.status_code == 503
    assert "not turned for 31.0 s (limit 30 s)" in answer.json()["why"]


def test_a_worker_that_still_loads_its_weights_is_alive_for_a_longer_while(worker: Worker):
    worker.clock.now += 200
    assert worker.get("/healthz").json()["alive"]
    worker.clock.now += 200
    assert worker.get("/healthz").status_code == 503


def test_what_is_fatal_is_told_even_if_the_loop_beats_on(worker: Worker):
    worker.health.beat(worker.clock())
    worker.health.failed("fenced: another worker has this name")
    answer = worker.get("/healthz")
    assert (answer.status_code, answer.json()["why"]) == (
        503, "fenced: another worker has this name",
    )  # fmt: skip


def test_a_worker_is_ready_when_each_condition_holds_and_says_which_does_not(
    worker: Worker,
):
    worker.health.beat(worker.clock())
    assert worker.get("/readyz").status_code == 503
    for condition in ("tables", "group"):
        worker.health.set(condition, True)
    worker.health.set("store", False, "no answer from the store for 3 s")
    answer = worker.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["conditions"]["tables"] == {"ok": True}
    assert answer.json()["conditions"]["store"] == {
        "ok": False, "why": "no answer from the store for 3 s",
    }  # fmt: skip
    worker.health.set("store", True)
    assert worker.get("/readyz").status_code == 200
    worker.clock.now += 60
    assert worker.get("/readyz").json()["conditions"]["alive"]["ok"] is False


def test_metrics_are_served_and_say_whether_the_worker_is_ready(worker: Worker):
    assert "streamrec_ready 0.0" in worker.get("/metrics").text
    worker.health.beat(worker.clock())
    for condition in ("tables", "group", "store"):
        worker.health.set(condition, True)
    answer = worker.get("/metrics")
    assert "streamrec_ready 1.0" in answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_a_question_is_answered_by_the_loops_own_thread(worker: Worker):
    def handler(question: Question) -> object:
        return {"user_id": question.user_id, "item_id": question.item_id}

    with loop(worker.questions, handler) as threads:
        user = worker.get("/user?user_id=zo%C3%A9%20%26%20co")
        why = worker.get("/why?user_id=u1&item_id=i9")
    assert user.json() == {"user_id": "zoé & co", "item_id": ""}
    assert why.json() == {"user_id": "u1", "item_id": "i9"}
    assert threads == {"the loop"}


def raises(error: Exception) -> Callable[[Question], object]:
    def handler(question: Question) -> object:
        raise error

    return handler


@pytest.mark.parametrize(
    ("handler", "status", "says"),
    [
        pytest.param(lambda _: None, 404, "knows nothing of user 'u1'", id="unknown"),
        pytest.param(raises(KeyError("no item i9")), 404, "no item i9", id="no item"),
        pytest.param(raises(ValueError("which one?")), 400, "which one?", id="nonsense"),
        pytest.param(raises(TransientError("store away")), 503, "store away", id="store"),
        pytest.param(
            raises(ZeroDivisionError("oh")), 500, "ZeroDivisionError: oh", id="bug"
        ),
    ],
)
def test_what_goes_wrong_with_a_question_is_its_answer_and_never_stops_the_loop(
    worker: Worker, handler: Callable[[Question], object], status: int, says: str
):
    with loop(worker.questions, handler):
        answer = worker.get("/user?user_id=u1")
        again = worker.get("/user?user_id=u1")
    assert (answer.status_code, again.status_code) == (status, status)
    assert says in answer.json()["error"]


def test_a_loop_that_gives_no_answer_is_told_after_the_limit_and_no_late_work_is_done(
    tmp_path: Path,
):
    questions, late = Questions(size=2, limit_s=0.05), list[Question]()
    answer = questions.ask(Question(kind="user", user_id="u1"))
    assert answer.status == 503
    assert "no answer in 0.05 s" in answer.body["error"]
    assert questions.answer(late.append) == 0
    assert late == []


def test_more_questions_than_the_queue_holds_are_refused_at_once():
    questions = Questions(size=1, limit_s=30.0)
    first = threading.Thread(
        target=questions.ask, args=[Question(kind="user", user_id="a")]
    )
    first.start()
    refused = wait_for(
        lambda: (
            questions._waiting.full() and questions.ask(Question(kind="user", user_id="b"))
        ),
        limit_s=5.0,
    )
    assert (refused.status, "too many" in refused.body["error"]) == (503, True)
    questions.answer(lambda _: {})
    first.join()


@pytest.mark.parametrize(
    ("target", "status", "says"),
    [
        pytest.param("/", 404, "/why?user_id=&item_id=", id="no such path"),
        pytest.param("/user", 400, "give user_id", id="no user"),
        pytest.param("/why?user_id=u1", 400, "give item_id", id="no item"),
        pytest.param(f"/user?user_id={'x' * 257}", 400, "at most 256 bytes", id="long id"),
        pytest.param(f"/user?user_id={'x' * 5000}", 400, "4096", id="long target"),
        pytest.param("/user?user_id=%ff", 400, "utf-8", id="not text"),
        pytest.param("/user?" + "a=1&" * 30 + "user_id=u", 400, "fields", id="many fields"),
    ],
)
def test_a_bad_request_is_refused_with_a_reason(
    worker: Worker, target: str, status: int, says: str
):
    answer = worker.get(target)
    assert answer.status_code == status
    assert says in answer.json()["error"]


def test_other_methods_are_refused_in_json_and_head_has_no_body(worker: Worker):
    posted = worker.client.post(worker.server.url + "/user?user_id=u1")
    assert (posted.status_code, "error" in posted.json()) == (501, True)
    head = worker.client.head(worker.server.url + "/healthz")
    assert (head.status_code, head.content) == (200, b"")


def test_a_running_worker_is_found_by_its_file_and_a_stopped_one_is_not(worker: Worker):
    [found] = http.announced(worker.folder)
    assert (found.url, found.role, found.worker) == (worker.server.url, "recommend", "w-1")
    assert found.alive()
    worker.server.close()
    assert http.announced(worker.folder) == []


def test_the_file_of_a_killed_worker_is_known_to_be_stale(tmp_path: Path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    one = {"url": "http://127.0.0.1:1", "pid": child.pid, "role": "encode", "worker": "w"}
    (tmp_path / "encode-w.json").write_text(json.dumps(one))
    (tmp_path / "encode-torn.json").write_text('{"url": ')
    [before] = http.announced(tmp_path)
    assert before.alive()
    assert not Announced(**one, born=1).alive(), "another process with the same number"
    child.kill()
    child.communicate()
    [after] = http.announced(tmp_path)
    assert not after.alive()


def test_closing_leaves_the_file_of_a_successor_alone(worker: Worker):
    path = worker.folder / "recommend-w-1.json"
    successor = json.loads(path.read_text()) | {"pid": 1}
    path.write_text(json.dumps(successor))
    worker.server.close()
    assert json.loads(path.read_text()) == successor


def test_a_worker_without_users_says_so_at_once(tmp_path: Path):
    server = http.serve(
        HttpConfig(), Health(), None, role="encode", worker="w", folder=tmp_path
    )
    answer = httpx.get(server.url + "/user?user_id=u1")
    server.close()
    assert (answer.status_code, "recommend worker" in answer.text) == (404, True)


def test_it_listens_on_loopback_unless_told_otherwise(worker: Worker):
    assert worker.server.url.startswith("http://127.0.0.1:")
