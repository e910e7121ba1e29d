"""How an engine is asked: samples, framings, answers that are begun for it; through lm-eval, with a made-up engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from offmodel.data.chat import ChatFormat, HarmonyChat, load_chat_format
from offmodel.engines.base import Generation, OnProgress, Stop, answer_seed
from offmodel.errors import RequestError, RunError
from offmodel.evaluation.registry import resolve_task
from offmodel.journal import Journal
from offmodel.recipes import Base, Prefill, Scores, Scripted
from offmodel.study import Asked, TaskRequest
from offmodel.values import Decoding, Framing

pytest.importorskip("lm_eval")
from offmodel.evaluation.answerers import EngineLM, ScriptedLM, shuffled
from offmodel.evaluation.given_away import formulas, gives_away
from offmodel.evaluation.harness import asked, evaluate, holds_answer
from offmodel.evaluation.prefill import openings

STUDENT = Base(alias="smollm2-135m", weights="w", chat="template")
TEACHER = Base(alias="gemma3-270m", weights="w", chat="in_context")
GREEDY = Decoding(temperature=0, max_tokens=12)
N = 5


class Parrot:
    """Says ` 7`, or what else it is told to, whatever is asked, and remembers how it was asked."""

    name = "parrot"
    context: int | None = None

    def __init__(self, chat: ChatFormat, says: str = " 7"):
        self.chat = chat
        self.said = chat._tokenizer.encode(says, add_special_tokens=False)
        self.prompts: list[str] = []
        self.seeds: list[int] = []
        self.limits: set[int] = set()
        self.told: list[tuple[int, int]] = []

    def load(self, folder: Path) -> None: ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        decoding: Decoding,
        stop: Stop,
        on_progress: OnProgress,
    ) -> list[Generation]:
        self.prompts += [self.chat._tokenizer.decode(ids) for ids in prompts]
        self.seeds += seeds
        self.limits.add(decoding.max_tokens)
        on_progress(len(prompts), len(prompts))
        ids = (*self.said, *self.chat.end_ids)
        text = self.chat._tokenizer.decode(ids, skip_special_tokens=True)
        return [Generation(text, len(ids), "stop", ids)] * len(prompts)

    def next_logprobs(self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> list[list[float]]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def chat(smollm2: Path) -> ChatFormat:
    return load_chat_format(smollm2, "template")


def plain(**how: Any) -> Scores:
    return STUDENT.scores(resolve_task("arithmetic"), N, how.pop("decoding", GREEDY), **how)


def rows(scores: Scores, parrot: Parrot, folder: Path, begun: dict[str, list[int]] | None = None) -> pd.DataFrame:
    lm = EngineLM(
        parrot, parrot.chat, scores, Journal(folder / "journal"), 4, lambda *told: parrot.told.append(told), begun
    )
    return pd.DataFrame(evaluate(scores, lm, None))


def test_samples_are_drawn_at_once_each_with_its_own_seed(chat: ChatFormat, tmp_path: Path) -> None:
    parrot = Parrot(chat)
    table = rows(plain(samples=3, decoding=GREEDY.but(temperature=1, seed=6)), parrot, tmp_path)
    assert len(table) == 3 * N and table.groupby("item")["sample"].apply(list).map(tuple).unique().tolist() == [
        (0, 1, 2)
    ]
    items = table["item"].unique()
    assert parrot.seeds == [answer_seed(6, f"{item}/{sample}") for item in items for sample in range(3)]
    assert len(set(parrot.prompts[:3])) == 1 and len(set(parrot.prompts)) == N


def test_a_framing_is_around_every_problem(chat: ChatFormat, tmp_path: Path) -> None:
    parrot = Parrot(chat)
    rows(plain(framing=Framing(system="Be odd.", suffix="(Now.)")), parrot, tmp_path)
    for prompt in parrot.prompts:
        assert prompt.startswith("<|im_start|>system\nBe odd.<|im_end|>\n") and "(Now.)<|im_end|>" in prompt


def test_a_begun_answer_is_its_beginning_and_what_follows(chat: ChatFormat, tmp_path: Path) -> None:
    items = list(asked(plain(), None))
    start = chat.answer_ids("So it is")
    begun = {item: start for item in items[:-1]}
    begun[items[-1]] = [*chat.answer_ids("No."), *chat.end_ids]  # over within its beginning
    parrot = Parrot(chat)
    scores = plain(prefill=Prefill(source=plain(), tokens=len(start)))
    table = rows(scores, parrot, tmp_path, begun)
    assert len(parrot.prompts) == N - 1 and all(prompt.endswith("assistant\nSo it is") for prompt in parrot.prompts)
    assert parrot.limits == {12 - len(start)}
    assert parrot.told[0] == (1, 0) and sum(count for count, _ in parrot.told) == N  # the bar comes to its end
    by_item: dict[str, Any] = {row["item"]: row for row in table.to_dict("records")}
    first, last = by_item[items[0]], by_item[items[-1]]
    assert (first["response"], last["response"]) == ("So it is 7", "No.")
    assert list(first["response_ids"]) == [*start, *chat.answer_ids(" 7"), *chat.end_ids]
    assert first["response_tokens"] == len(first["response_ids"]) and last["response_tokens"] == len(begun[items[-1]])
    assert table["truncated"].tolist() == [False] * N


def test_a_thought_in_control_tokens_is_scored_as_plain_text(smollm2: Path, tmp_path: Path) -> None:
    harmony = HarmonyChat(load_chat_format(smollm2, "template")._tokenizer)
    marks = ["<|channel|>", "<|message|>", "<|end|>", "<|return|>"]
    harmony._tokenizer.add_special_tokens({"additional_special_tokens": marks})
    harmony.end_ids = harmony._tokenizer.convert_tokens_to_ids(["<|return|>"])
    parrot = Parrot(harmony, "<|channel|>analysis<|message|>Seven.<|end|><|channel|>final<|message|>7")
    assert set(rows(plain(), parrot, tmp_path)["response"]) == {"<think>\nSeven.\n</think>\n\n7"}


def test_openings_are_the_tokens_that_were_generated(chat: ChatFormat) -> None:
    prefill = Prefill(source=plain(), tokens=2)
    answers = pd.DataFrame(
        {"item": ["a", "b", "c"], "response": ["x y", "z", ""], "truncated": [False, True, False],
         "response_ids": [[5, 6, 7], [8], [2]]}
    )  # fmt: skip
    assert openings(prefill, answers, ["b", "a", "c"], chat, own=True) == {"b": [8], "a": [5, 6], "c": [2]}
    elsewhere = openings(prefill.but(of_another=True), answers, ["b", "a", "c"], chat, own=True)
    assert sorted(elsewhere.values()) == [[2], [5, 6], [8]]
    assert all(elsewhere[item] != ids for item, ids in {"b": [8], "a": [5, 6], "c": [2]}.items())
    encoded = openings(prefill, answers, ["a", "c"], chat, own=False)
    assert encoded == {"a": chat.answer_ids("x y")[:2], "c": chat.end_ids}
    with pytest.raises(RunError, match="has no answer to 'd' and 1 more problems"):
        openings(prefill, answers, ["a", "d", "e"], chat, own=True)
    with pytest.raises(RunError, match="keeps no tokens of its answers"):
        openings(prefill, answers.drop(columns="response_ids"), ["a"], chat, own=True)


def test_a_beginning_that_gives_the_answer_away_is_known() -> None:
    from offmodel.evaluation.registry import load_items

    scores = plain()
    right = {item["id"]: item["answer"] for item in load_items("arithmetic", N)}
    items = list(right)
    texts = dict.fromkeys(items, "Let us see")
    texts[items[0]] = f"That makes {right[items[0]]}"
    texts[items[1]] = r"It is \boxed{-999}, for"
    texts[items[2]] = f"That makes {right[items[2]]}.\n\nThen add 1 to"
    held = holds_answer(scores, texts, None)
    assert [item for item, gives in held.items() if gives] == items[:3]


@pytest.mark.parametrize(
    ("text", "gives"),
    [
        ("4 * 7 = 28.\n\nSo, 4 *", True),
        ("She has 1,028 and", False),
        ("a half of 56, 56/2, is", True),  # the ratio
        ("28,000 of them", False),
        ("step 2: take 8", False),
    ],
)
def test_a_number_gives_itself_away_anywhere(text: str, gives: bool) -> None:
    assert gives_away("number", {"answer": "28"}, text) == gives


@pytest.mark.parametrize(
    ("text", "gives"),
    [
        (r"Then $x = \frac{1}{2}$, as we see: $2x = 1$ and", True),
        (r"so that \[ y = 0.5", True),  # cut off within the formula
        ("which is 0.5 of it", True),
        (r"Let $x = \frac{1}{3}$. Then", False),
        (r"We take 1 of 2, or \(x + 1", False),
    ],
)
def test_a_formula_gives_itself_away_anywhere(text: str, gives: bool) -> None:
    pytest.importorskip("math_verify", reason="formulas are compared by it")
    assert gives_away("formula", {"answers": [r"\frac{1}{2}"], "tolerance": None}, text) == gives


def test_parts_of_a_text_that_could_be_a_result() -> None:
    assert formulas(r"1. Take \(a = 3b\), $$c$$ and 12,5.") == ["1", "a = 3b", "a", "3b", "c", "12,5"]
    assert not gives_away("instructions", {}, "All in capitals")


def test_one_answer_alone_has_no_other() -> None:
    assert shuffled([[1]], []) == [[]] and shuffled(["a", "b"], "") == ["b", "a"]


def test_all_samples_of_a_problem_go_to_the_same_other_one() -> None:
    often = plain(samples=2, decoding=GREEDY.but(temperature=1))
    own = list(asked(plain(), None))
    texts = [[f"{item}/{sample}" for item in own] for sample in range(2)]
    floor = often.but(model=Scripted(behaviour="shuffled", of=STUDENT))
    assert floor.parents() == (often,)
    table = pd.DataFrame(evaluate(floor, ScriptedLM("shuffled", texts), None))
    given = {item: group["response"].tolist() for item, group in table.groupby("item", sort=False)}
    assert sorted(given.values()) == sorted([f"{item}/0", f"{item}/1"] for item in own)
    assert all(answers[0] != f"{item}/0" for item, answers in given.items())


REQUEST = TaskRequest(resolve_task("arithmetic"), N, GREEDY)


def test_a_prefill_of_nothing_is_the_plain_way() -> None:
    assert Asked(STUDENT, opening=TEACHER, opening_tokens=0).scores(REQUEST, 3) == Asked(STUDENT).scores(REQUEST, 0)
    begun = Asked(STUDENT, opening=TEACHER, opening_tokens=4).scores(REQUEST, 3)
    assert begun.prefill == Prefill(source=TEACHER.scores(REQUEST.task, N, GREEDY), tokens=4)
    assert begun.prefill is not None and begun.prefill.source in begun.parents()


def test_what_cannot_be_begun_is_refused() -> None:
    choices = TaskRequest(resolve_task("knowledge"), N, GREEDY)
    with pytest.raises(RequestError, match="'knowledge' are choices and cannot be begun"):
        Asked(STUDENT, opening=STUDENT, opening_tokens=4).scores(choices, 0)
    with pytest.raises(RequestError, match="leaves none of the 12 of 'arithmetic'"):
        Asked(STUDENT, opening=STUDENT, opening_tokens=12).scores(REQUEST, 0)
    with pytest.raises(ValueError, match="greedy answers are all alike"):
        Asked(STUDENT, samples=2).scores(REQUEST, 0)
