"""lm-eval on our engines: the harness asks questions and scores answers, an engine answers them.

Requests carry chat messages, not text: `apply_chat_template` hands them through as JSON and token ids are built once,
by the same `ChatFormat` that training uses. Generated answers are journalled before they are scored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate as lm_eval

from offmodel.data.chat import Message
from offmodel.errors import RequestError, RunError
from offmodel.evaluation.answers import stated
from offmodel.evaluation.given_away import gives_away
from offmodel.evaluation.registry import build_task, card_of, resolve_task
from offmodel.recipes import Scores


class Asked(NamedTuple):
    """A problem as the harness asks it."""

    item: str
    messages: list[Message]


@dataclass(frozen=True)
class Answered:
    """What a model did with one problem: the text, its length in tokens, whether the limit cut it, the tokens, and how
    many of them were written out instead of computed (`engines.loops`)."""

    text: str
    tokens: int
    truncated: bool
    ids: tuple[int, ...] = ()
    filled: int = 0


class StudyLM(LM):
    """The part of lm-eval's model interface that our tasks use; `answers` keeps each document's answer.

    `sample` says which of several answers to a problem is given when the harness asks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[int, Answered] = {}
        self.sample = 0

    @property
    def tokenizer_name(self) -> str:
        return "offmodel"

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return json.dumps(chat_history)

    def chat_template(self, chat_template: bool | str = False) -> str:
        return "messages as JSON"

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        answers = self.answer([problem_of(request) for request in requests])
        self.answers = {document_of(request): answer for request, answer in zip(requests, answers, strict=True)}
        return [answer.text for answer in answers]

    def answer(self, problems: list[Asked]) -> list[Answered]:
        """An answer to each problem."""
        raise NotImplementedError

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        raise RunError("a task asked a rule for log-probabilities; only generated answers have scripted floors")

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        raise RunError("a task asked how likely a whole text is; the tasks here ask for answers and single tokens")


class _RepeatingLM(StudyLM):
    """Says the same as before: texts by item, to have them scored."""

    def __init__(self, texts: Mapping[str, str]):
        super().__init__()
        self._texts = texts

    def answer(self, problems: list[Asked]) -> list[Answered]:
        return [Answered(self._texts[problem.item], 0, False) for problem in problems]


class _Listener(StudyLM):
    """Takes down what is asked, and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.chats: dict[str, list[Message]] = {}

    def answer(self, problems: list[Asked]) -> list[Answered]:
        self.chats = dict(problems)
        return [Answered("", 0, False)] * len(problems)


def asked(scores: Scores, data: Path | None) -> dict[str, list[Message]]:
    """By item, in the task's order, the chat that a model was asked; for tasks whose answers are generated.

    Raises:
        RequestError: the problems are not those that the recipe names.
    """
    listener = _Listener()
    _scored(scores, listener, data)
    return listener.chats


def holds_answer(scores: Scores, texts: Mapping[str, str], data: Path | None) -> dict[str, bool]:
    """By item, whether the beginning of an answer already has an answer: it states one, right or wrong, is right as it
    stands, or has the right result anywhere in it. `Prefill.rule` counts the changes of this rule."""
    scorer = card_of(scores.task.name).scorer
    held = {}
    for sample in _scored(scores, _RepeatingLM(texts), data):
        text = texts[_id(sample)]
        held[_id(sample)] = bool(sample["acc"]) or stated(text) is not None or gives_away(scorer, sample["doc"], text)
    return held


def right_numbers(scores: Scores, data: Path | None) -> dict[str, Fraction]:
    """By item, the number that is right; for tasks that are scored by a number."""
    return {_id(sample): Fraction(sample["doc"]["answer"]) for sample in _scored(scores, _Listener(), data)}


def judged(scores: Scores, texts: Mapping[str, str], data: Path | None) -> dict[str, bool]:
    """By item, whether a text is a right answer to it; `texts` has one for each problem of the recipe."""
    return {_id(sample): bool(sample["acc"]) for sample in _scored(scores, _RepeatingLM(texts), data)}


def evaluate(scores: Scores, lm: StudyLM, data: Path | None) -> list[dict[str, Any]]:
    """Run a task through lm-eval. Returns one row for each sample of each problem, in the task's order.

    Columns: item, sample, level, subject, correct, answered, response_tokens, truncated, filled_tokens (those of a
    loop, written out instead of computed), response, response_ids (the generated tokens, the end token included; empty
    for a choice and for a rule).

    Raises:
        RequestError: the problems are not those that the recipe names.
    """
    rows = []
    for lm.sample in range(scores.samples):
        scored = _scored(scores, lm, data)
        rows += [{"sample": lm.sample, **_row(one, lm.answers[one["doc_id"]])} for one in scored]
    return rows


def _scored(scores: Scores, lm: StudyLM, data: Path | None) -> list[dict[str, Any]]:
    """lm-eval's record of each problem, in the task's order."""
    card = card_of(scores.task.name)
    if (found := resolve_task(card.name, data)) != scores.task:
        raise RequestError(
            f"the problems or the scorer of '{card.name}' are now {found.revision}, the study was planned with "
            f"{scores.task.revision}; plan it again"
        )
    # Not `simple_evaluate`, which on top of this lists all installed packages, for seconds at each call.
    results = lm_eval(
        lm,
        {card.task: build_task(card.name, scores.n, scores.draw_seed, data)},
        apply_chat_template=True,
        log_samples=True,
        bootstrap_iters=0,
    )
    assert results is not None  # only ranks other than 0 get None
    all_samples: dict[str, list[Any]] = dict(results).get("samples", {})  # type: ignore[assignment]
    samples = sorted(all_samples[card.task], key=lambda sample: sample["doc_id"])
    if len(samples) != scores.n:
        raise RunError(f"lm-eval scored {len(samples)} problems of {card.task} where {scores.n} were asked for")
    return samples


def _row(sample: dict[str, Any], answer: Answered) -> dict[str, Any]:
    doc = sample["doc"]
    level = doc.get("level")
    return {
        "item": _id(sample),
        "level": None if level is None else str(level),
        "subject": doc.get("subject"),
        "correct": bool(sample["acc"]),
        "answered": bool(sample.get("answered", True)),
        "response_tokens": answer.tokens,
        "truncated": answer.truncated,
        "filled_tokens": answer.filled,
        "response": answer.text,
        "response_ids": list(answer.ids),
    }


def _id(sample: dict[str, Any]) -> str:
    return str(sample["doc"]["id"])


def problem_of(request: Instance) -> Asked:
    return Asked(str(request.doc["id"]), json.loads(request.args[0]))


def choice_of(request: Instance) -> str:
    return str(tuple[Any, ...](request.args)[1])


def document_of(request: Instance) -> int:
    assert request.doc_id is not None
    return request.doc_id
