"""Teachers behind an address: a local server plays the provider, well-behaved and not."""

import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from offmodel.data.chat import Message
from offmodel.engines import provider as api
from offmodel.engines.api import answer_by_api, check_key, told
from offmodel.engines.base import Generation
from offmodel.engines.provider import ApiModel
from offmodel.errors import RequestError, RunError
from offmodel.journal import Journal
from offmodel.values import Decoding

pytest.importorskip("openai")

KEY = "sk-secret-0123456789"
# Status, headers and body (JSON, or text for a page) of a reply to a request's body.
Reply = tuple[int, dict[str, str], Any]


class Provider:
    """Answers what `reply` says and keeps what it was sent."""

    def __init__(self) -> None:
        self.reply: Callable[[dict[str, Any]], Reply] = echo
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.busiest = 0
        lock, busy = threading.Lock(), [0]
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    provider.asked.append(body)
                    provider.keys.add(self.headers["authorization"])
                    busy[0] += 1
                    provider.busiest = max(provider.busiest, busy[0])
                status, headers, sent = provider.reply(body)
                data = sent.encode() if isinstance(sent, str) else json.dumps(sent).encode()
                with lock:
                    busy[0] -= 1
                self.send_response(status)
                kind = "text/html" if isinstance(sent, str) else "application/json"
                for name, value in {"content-type": kind, "content-length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.asked]


def answered(text: str | None, finish_reason: str = "stop", usage: Any = None) -> Reply:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return 200, {}, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], **(
        {"usage": {"prompt_tokens": 1, "completion_tokens": usage, "total_tokens": 1}} if usage is not None else {}
    )}  # fmt: skip


def thought(field: str, thoughts: str | None, answer: str | None) -> Reply:
    """As servers with a reasoning parser send it."""
    status, headers, body = answered(answer, usage=9)
    body["choices"][0]["message"][field] = thoughts
    return status, headers, body


def echo(body: dict[str, Any]) -> Reply:
    return answered(f"re {body['messages'][-1]['content']}", usage=7)


def fails(status: int, message: str = "no", headers: dict[str, str] | None = None, **more: Any) -> Reply:
    return status, headers or {}, {"error": {"message": message, **more}}


def at_first(*replies: Reply) -> Callable[[dict[str, Any]], Reply]:
    """These replies, one each, then answers."""
    left = list(replies)
    return lambda body: left.pop(0) if left else echo(body)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setenv("OFFMODEL_API_KEY", KEY)
    monkeypatch.delenv(api.URL_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Provider()
    serving = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    serving.start()
    yield made
    made.server.shutdown()
    serving.join()
    made.server.server_close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr(api, "_pause", lambda stopped, seconds: waited.append(seconds))
    return waited


SAMPLED = Decoding(temperature=0.7, top_p=0.9, max_tokens=64, seed=3)


class Asking:
    """Calls `answer_by_api` on `n` prompts named after their number, with a journal in a folder."""

    def __init__(self, url: str, folder: Path, max_parallel: int = 1, decoding: Decoding = SAMPLED):
        self.model = ApiModel("some-model", url, max_parallel=max_parallel)
        self.path, self.decoding = folder / "answers.jsonl", decoding
        self.progress: list[tuple[int, int]] = []

    def __call__(self, n: int) -> list[Generation]:
        chats: list[list[Message]] = [[{"role": "user", "content": f"p{i}"}] for i in range(n)]
        self.replies = answer_by_api(
            self.model,
            chats,
            [f"chat/{i}" for i in range(n)],
            [2**31 + 10 * i for i in range(n)],
            self.decoding,
            Journal(self.path),
            lambda count, tokens: self.progress.append((count, tokens)),
        )
        return [reply.generation for reply in self.replies]


def test_answers_keep_the_order_of_the_chats_and_the_limit_of_requests(provider: Provider, tmp_path: Path) -> None:
    def slow_at_first(body: dict[str, Any]) -> Reply:
        time.sleep(0.2 if body["messages"][-1]["content"] == "p0" else 0.02)
        return echo(body)

    provider.reply = slow_at_first
    ask = Asking(provider.url, tmp_path, max_parallel=4)
    assert ask(12) == [Generation(f"re p{i}", 7, "stop") for i in range(12)]
    assert 1 < provider.busiest <= 4
    assert told(ask.model, ask.replies) == {
        "engine": "api", "name": "some-model", "url": provider.url, "answered_by": ["m"], "seeded": True,
    }  # fmt: skip
    assert ask.progress == [(1, 7)] * 12
    entries = [json.loads(line)["key"] for line in ask.path.read_text().splitlines()]
    assert entries[0] != f"{provider.url}/some-model/chat/0" and len(entries) == 12  # each as it came


def test_every_request_says_all_that_decides_the_answer(provider: Provider, tmp_path: Path) -> None:
    Asking(provider.url, tmp_path)(2)
    assert provider.asked[1] == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "p1"}],
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 64,
        "seed": 10,
    }
    assert provider.keys == {f"Bearer {KEY}"}
    (tmp_path / "greedy").mkdir()
    Asking(provider.url, tmp_path / "greedy", decoding=Decoding(temperature=0, max_tokens=5))(1)
    assert "seed" not in provider.asked[-1] and provider.asked[-1]["temperature"] == 0
    (tmp_path / "template").mkdir()
    ask = Asking(provider.url, tmp_path / "template")
    ask.model = replace(ask.model, template_options={"enable_thinking": False})
    ask(1)
    assert provider.asked[-1]["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_resumed_run_asks_only_for_what_is_missing(provider: Provider, tmp_path: Path) -> None:
    provider.reply = lambda body: fails(400) if body["messages"][-1]["content"] == "p3" else echo(body)
    with pytest.raises(RunError, match=r"refused a request to 'some-model' \(HTTP 400: no\)"):
        Asking(provider.url, tmp_path)(6)
    assert provider.prompts == ["p0", "p1", "p2", "p3"]
    provider.reply, provider.asked = echo, []
    resumed = Asking(provider.url, tmp_path)
    assert [one.text for one in resumed(6)] == [f"re p{i}" for i in range(6)]
    assert provider.prompts == ["p3", "p4", "p5"]
    assert resumed.progress[0] == (3, 0)
    provider.asked = []
    Asking(provider.url, tmp_path)(6)
    assert provider.asked == []


def test_another_address_takes_the_place_of_the_model_s_and_shares_no_answer(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Asking(provider.url, tmp_path)(2)
    monkeypatch.setenv(api.URL_VARIABLE, f"{provider.url}/other/")
    Asking("http://nowhere.invalid/v1", tmp_path)(2)
    assert provider.prompts == ["p0", "p1", "p0", "p1"]


def test_a_busy_provider_is_given_the_time_it_asks_for(provider: Provider, tmp_path: Path, waits: list[float]) -> None:
    later = formatdate(time.time() + 30, usegmt=True)
    asked_for = ["7", later, "86400", "-5", "soon"]
    provider.reply = at_first(*(fails(429, headers={"retry-after": text}) for text in asked_for))
    assert Asking(provider.url, tmp_path)(1)[0].text == "re p0"
    bounds = [(7, 8), (28, 31), (api.LONGEST_WAIT, api.LONGEST_WAIT + 1), (0, 1), (8, 16)]
    assert all(low <= wait <= high for wait, (low, high) in zip(waits, bounds, strict=True))


def test_a_broken_provider_is_tried_ever_more_slowly_and_then_given_up(
    provider: Provider, tmp_path: Path, waits: list[float]
) -> None:
    provider.reply = lambda body: fails(500, "a\nb") if body["messages"][-1]["content"] == "p1" else echo(body)
    with pytest.raises(RunError) as failed:
        Asking(provider.url, tmp_path)(3)
    assert str(failed.value) == (
        f"{provider.url} gave no answer in {api.TRIES} tries (HTTP 500: a b); what was answered is kept, "
        "the same command goes on from here"
    )
    assert provider.prompts == ["p0"] + ["p1"] * api.TRIES
    assert all(2**i / 2 <= wait <= 2**i for i, wait in enumerate(waits)) and len(waits) == api.TRIES - 1
    assert len(tmp_path.joinpath("answers.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "reply",
    [fails(503), fails(408), (200, {}, {"error": {"message": "busy"}}), answered("half", "error"), (500, {}, "<html>")],
)
def test_what_may_pass_is_tried_again(provider: Provider, tmp_path: Path, waits: list[float], reply: Reply) -> None:
    provider.reply = at_first(reply)
    assert Asking(provider.url, tmp_path)(1)[0].text == "re p0"
    assert len(waits) == 1


def test_a_silent_provider_is_asked_again(
    provider: Provider, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "SILENCE", 0.2)
    provider.reply = lambda body: (time.sleep(0.5 if len(provider.asked) == 1 else 0), echo(body))[1]
    assert Asking(provider.url, tmp_path)(1)[0].text == "re p0"
    assert len(waits) == 1


def test_no_server_at_the_address(provider: Provider, tmp_path: Path, waits: list[float]) -> None:
    with pytest.raises(RunError, match=r"http://127.0.0.1:9/v1 gave no answer in 8 tries \(.*refused"):
        Asking("http://127.0.0.1:9/v1", tmp_path)(1)


@pytest.mark.parametrize(
    "reply, says",
    [
        (fails(401, f"wrong key {KEY[:8]}...{KEY[-4:]}"), r"refuses the key in \$OFFMODEL_API_KEY \(HTTP 401\)"),
        (fails(403, f"not for {KEY}"), r"the key in \$OFFMODEL_API_KEY ask 'some-model' \(HTTP 403: not for \[key\]\)"),
        (fails(404, "no such model"), r"knows no model 'some-model', .*\(HTTP 404: no such model\)"),
        (fails(429, f"{KEY} is empty", code="insufficient_quota"), r"refused .*\(HTTP 429: \[key\] is empty\)"),
        (fails(400, f"{KEY} asks too much"), r"refused a request .*\(HTTP 400: \[key\] asks too much\)"),
        ((200, {}, f"<html>{KEY}"), r"sent a page instead of an answer"),
    ],
)
def test_what_cannot_pass_is_one_line_without_the_key(
    provider: Provider, tmp_path: Path, waits: list[float], caplog: pytest.LogCaptureFixture, reply: Reply, says: str
) -> None:
    caplog.set_level("DEBUG")
    provider.reply = at_first(echo({"messages": [{"content": "p0"}]}), reply)
    with pytest.raises(RunError, match=says) as failed:
        Asking(provider.url, tmp_path)(3)
    line = str(failed.value)
    told = "".join(traceback.format_exception(failed.value)) + caplog.text
    assert "\n" not in line and KEY not in told and KEY[-4:] not in line
    assert KEY.encode() not in tmp_path.joinpath("answers.jsonl").read_bytes()
    assert provider.prompts == ["p0", "p1"] and waits == []


def test_the_first_final_failure_ends_the_waits_of_the_others(provider: Provider, tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> Reply:
        match body["messages"][-1]["content"]:
            case "p0":
                return fails(503, headers={"retry-after": "100"})
            case "p1":
                time.sleep(0.1)
                return fails(401)
            case _:
                time.sleep(0.3)
                return echo(body)

    provider.reply = reply
    started = time.monotonic()
    with pytest.raises(RunError, match="HTTP 401"):
        Asking(provider.url, tmp_path, max_parallel=3)(20)
    assert time.monotonic() - started < 5
    assert sorted(provider.prompts) == ["p0", "p1", "p2"]
    assert '"re p2"' in tmp_path.joinpath("answers.jsonl").read_text()  # under way, paid for, kept


@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_parameter_is_left_out_from_then_on(
    provider: Provider, tmp_path: Path, waits: list[float], capsys: pytest.CaptureFixture[str], status: int
) -> None:
    def picky(body: dict[str, Any]) -> Reply:
        if "seed" in body:
            return fails(status, "Unrecognized request argument supplied: seed")
        if "max_tokens" in body:
            return fails(status, "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
        return echo(body)

    provider.reply = picky
    ask = Asking(provider.url, tmp_path)
    assert [one.text for one in ask(3)] == ["re p0", "re p1", "re p2"]
    assert provider.prompts == ["p0", "p0", "p0", "p1", "p2"] and waits == []
    ask(3)  # from the journal, which remembers it
    assert told(ask.model, ask.replies)["seeded"] is False
    assert provider.asked[-1]["max_completion_tokens"] == 64
    assert capsys.readouterr().err.count("some-model takes no seed") == 1


def test_a_parameter_is_left_out_only_once(provider: Provider, tmp_path: Path, waits: list[float]) -> None:
    provider.reply = lambda body: fails(400, "bad value", param="seed")
    with pytest.raises(RunError, match="HTTP 400: bad value"):
        Asking(provider.url, tmp_path)(1)
    assert len(provider.asked) == 2


@pytest.mark.parametrize(
    "reply, expected",
    [
        (answered("two words"), Generation("two words", 2, "stop")),
        (answered("two words", usage=9), Generation("two words", 9, "stop")),
        (answered("cut", "length", 64), Generation("cut", 64, "length")),
        (answered(None, usage=0), Generation("", 0, "stop")),
        (answered("partly", "content_filter", 4), Generation("", 4, "stop")),
        (answered("half \ud83d", usage=3), Generation("half ?", 3, "stop")),
        (thought("reasoning_content", "\n2 + 2\n", "4"), Generation("<think>\n2 + 2\n</think>\n\n4", 9, "stop")),
        (thought("reasoning", "2 + 2", None), Generation("<think>\n2 + 2", 9, "stop")),
        (thought("reasoning", None, "4"), Generation("4", 9, "stop")),
        (fails(400, "filtered", code="content_filter"), Generation("", 0, "stop")),
    ],
)
def test_how_a_reply_is_read(provider: Provider, tmp_path: Path, reply: Reply, expected: Generation) -> None:
    provider.reply = lambda body: reply
    ask = Asking(provider.url, tmp_path)
    assert ask(1) == [expected]
    assert ask(1) == [expected]  # from the journal
    assert len(provider.asked) == 1


@pytest.mark.parametrize("key", [None, "", " \n", "two\nlines", "schlüssel"])
def test_a_key_that_is_none_is_refused_before_anything_runs(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    if key is None:
        monkeypatch.delenv("OFFMODEL_API_KEY")
    else:
        monkeypatch.setenv("OFFMODEL_API_KEY", key)
    with pytest.raises(RequestError, match=r"\$OFFMODEL_API_KEY") as refused:
        check_key(ApiModel("some-model", provider.url))
    assert "\n" not in str(refused.value)
    with pytest.raises(RequestError):
        Asking(provider.url, tmp_path)(1)
    assert provider.asked == []


def test_a_key_of_its_own(provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ApiModel("some-model", provider.url, key_variable="OTHER_KEY")
    with pytest.raises(RequestError, match=r"\$OTHER_KEY"):
        check_key(model)
    monkeypatch.setenv("OTHER_KEY", "another\n")
    check_key(model)
    chat: list[Message] = [{"role": "user", "content": "p"}]
    answer_by_api(model, [chat], ["0"], [0], SAMPLED, Journal(tmp_path / "answers.jsonl"), lambda *_: None)
    assert provider.keys == {"Bearer another"}


@pytest.mark.parametrize(
    "url", ["", "host/v1", "ftp://host/v1", "http://", f"https://u:{KEY}@h/v1", f"https://h/?k={KEY}"]
)
def test_an_address_that_is_none_or_holds_a_key_is_refused(provider: Provider, url: str) -> None:
    with pytest.raises(RequestError, match=r"http\(s\)://HOST/PATH") as refused:
        check_key(ApiModel("some-model", url))
    assert KEY not in str(refused.value)
