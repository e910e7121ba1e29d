"""lm-eval on our engines: the harness asks questions and scores answers, an engine answers them.

Requests carry chat messages, not text: `apply_chat_template` hands them through as JSON and token ids are built once,
by the same `ChatFormat` that training uses. Generated answers are journalled before they are scored.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate as lm_eval

from offmodel.data.chat import ChatFormat, Message
from offmodel.engines.answering import generate_in_chunks, stop_of
from offmodel.engines.base import Engine, OnProgress
from offmodel.errors import RequestError, RunError
from offmodel.evaluation.registry import build_task, card_of, resolve_task
from offmodel.journal import Journal
from offmodel.recipes import Decoding, Scores

# The sentence that the constant floor says to everything.
CONSTANT = "I am happy to help you with that."


@dataclass(frozen=True)
class Answered:
    """What a model did with one problem: the text, its length in tokens, whether the limit cut it, the tokens."""

    text: str
    tokens: int
    truncated: bool
    ids: tuple[int, ...] = ()


class StudyLM(LM):
    """The part of lm-eval's model interface that our tasks use; `answers` keeps each document's answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[int, Answered] = {}

    @property
    def tokenizer_name(self) -> str:
        return "offmodel"

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return json.dumps(chat_history)

    def chat_template(self, chat_template: bool | str = False) -> str:
        return "messages as JSON"

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        answers = self.answer([_messages(request) for request in requests])
        self.answers = {_document(request): answer for request, answer in zip(requests, answers, strict=True)}
        return [answer.text for answer in answers]

    def answer(self, chats: list[list[Message]]) -> list[Answered]:
        """An answer to each chat."""
        raise NotImplementedError

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        raise RunError("a task asked a rule for log-probabilities; only generated answers have scripted floors")

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        raise RunError("a task asked how likely a whole text is; the tasks here ask for answers and single tokens")


class EngineLM(StudyLM):
    """A model behind an engine."""

    def __init__(
        self,
        engine: Engine,
        chat: ChatFormat,
        decoding: Decoding,
        journal: Journal,
        chunk: int,
        on_progress: OnProgress,
    ):
        super().__init__()
        self._engine, self._chat, self._decoding = engine, chat, decoding
        self._journal, self._chunk, self._on_progress = journal, chunk, on_progress

    def answer(self, chats: list[list[Message]]) -> list[Answered]:
        prompts = [self._chat.prompt_ids(messages) for messages in chats]
        generations = generate_in_chunks(
            self._engine,
            prompts,
            [0] * len(prompts),
            self._decoding,
            stop_of(self._chat),
            self._journal,
            self._chunk,
            self._on_progress,
        )
        return [Answered(g.text, g.tokens, g.finish_reason == "length", g.ids) for g in generations]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-probabilities of single-token continuations; one forward pass serves all choices of a question."""
        prompts = {_document(request): self._chat.prompt_ids(_messages(request)) for request in requests}
        choices: dict[int, dict[str, int]] = {document: {} for document in prompts}
        for request in requests:
            ids = self._chat.answer_ids(_choice(request))
            if len(ids) != 1:
                raise RunError(f"the choice {_choice(request)!r} is {len(ids)} tokens of this model and must be one")
            choices[_document(request)][_choice(request)] = ids[0]
        rows = self._engine.next_logprobs(list(prompts.values()), [list(ids.values()) for ids in choices.values()])
        self._on_progress(len(prompts), 0)
        logprobs = {
            document: dict(zip(texts, row, strict=True))
            for (document, texts), row in zip(choices.items(), rows, strict=True)
        }
        self.answers = {
            document: Answered(max(values, key=values.__getitem__), 1, False) for document, values in logprobs.items()
        }
        return [(logprobs[_document(request)][_choice(request)], False) for request in requests]


class ScriptedLM(StudyLM):
    """Answers by rule, for the floor of a scorer."""

    def __init__(self, behaviour: str, others: Sequence[str]):
        super().__init__()
        self._behaviour, self._others = behaviour, list(others)

    def answer(self, chats: list[list[Message]]) -> list[Answered]:
        texts = {
            "echo": lambda: [messages[-1]["content"] for messages in chats],
            "constant": lambda: [CONSTANT] * len(chats),
            "shuffled": lambda: shuffled(self._others),
        }[self._behaviour]()
        return [Answered(text, len(text.split()), False) for text in texts]


def shuffled(answers: Sequence[str]) -> list[str]:
    """The answers moved so that no problem keeps its own: a random cycle, the same each time; one alone gets none."""
    if len(answers) == 1:
        return [""]
    order = list(range(len(answers)))
    random.Random("shuffled").shuffle(order)
    moved = list(answers)
    for position, source in zip(order, order[1:] + order[:1], strict=True):
        moved[position] = answers[source]
    return moved


class _Listener(StudyLM):
    """Takes down what is asked, and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.chats: dict[int, list[Message]] = {}

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        self.chats = {_document(request): _messages(request) for request in requests}
        return [""] * len(requests)


def asked(scores: Scores, data: Path | None) -> dict[str, list[Message]]:
    """By item, in the task's order, the chat that a model was asked; for tasks whose answers are generated.

    Raises:
        RequestError: the problems are not those that the recipe names.
    """
    listener = _Listener()
    return {str(sample["doc"]["id"]): listener.chats[sample["doc_id"]] for sample in _samples(scores, listener, data)}


def evaluate(scores: Scores, lm: StudyLM, data: Path | None) -> list[dict[str, Any]]:
    """Run a task through lm-eval. Returns one row for each problem, in the task's order.

    Columns: item, level, subject, correct, answered, response_tokens, truncated, response, response_ids (the generated
    tokens, the end token included; empty for a choice and for a rule).

    Raises:
        RequestError: the problems are not those that the recipe names.
    """
    return [_row(sample, lm.answers[sample["doc_id"]]) for sample in _samples(scores, lm, data)]


def _samples(scores: Scores, lm: StudyLM, data: Path | None) -> list[dict[str, Any]]:
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
        "item": str(doc["id"]),
        "level": None if level is None else str(level),
        "subject": doc.get("subject"),
        "correct": bool(sample["acc"]),
        "answered": bool(sample.get("answered", True)),
        "response_tokens": answer.tokens,
        "truncated": answer.truncated,
        "response": answer.text,
        "response_ids": list(answer.ids),
    }


def _messages(request: Instance) -> list[Message]:
    return json.loads(request.args[0])


def _choice(request: Instance) -> str:
    return str(tuple[Any, ...](request.args)[1])


def _document(request: Instance) -> int:
    assert request.doc_id is not None
    return request.doc_id
