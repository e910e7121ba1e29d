"""Who answers lm-eval's questions: a model behind an engine, or a rule."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from lm_eval.api.instance import Instance

from offmodel.data.chat import ChatFormat, framed
from offmodel.engines.answering import generate_in_chunks, stop_of
from offmodel.engines.base import Engine, Generation, OnProgress, answer_seed
from offmodel.errors import RunError
from offmodel.evaluation.harness import Answered, Asked, StudyLM, choice_of, document_of, problem_of
from offmodel.journal import Journal
from offmodel.recipes import Scores

T = TypeVar("T")

# The sentence that the constant floor says to everything.
CONSTANT = "I am happy to help you with that."


class EngineLM(StudyLM):
    """A model behind an engine. All samples of all problems are drawn at the first question, in one go.

    `openings` gives the ids with which the answer to an item begins; they count as its own.
    """

    def __init__(
        self,
        engine: Engine,
        chat: ChatFormat,
        scores: Scores,
        journal: Journal,
        chunk: int,
        on_progress: OnProgress,
        openings: Mapping[str, list[int]] | None = None,
    ):
        super().__init__()
        self._engine, self._chat, self._scores = engine, chat, scores
        self._journal, self._chunk, self._on_progress = journal, chunk, on_progress
        self._openings = openings or {}
        self._drawn: list[Answered] = []

    def answer(self, problems: list[Asked]) -> list[Answered]:
        samples = self._scores.samples
        if not self._drawn:
            self._drawn = self._draw([problem for problem in problems for _ in range(samples)])
        return self._drawn[self.sample :: samples]

    def _draw(self, problems: list[Asked]) -> list[Answered]:
        """An answer to each problem; the same problem again is its next sample."""
        decoding, stop = self._scores.decoding, stop_of(self._chat)
        longest = self._scores.prefill.tokens if self._scores.prefill else 0
        begun = [self._openings.get(problem.item, []) for problem in problems]
        # An answer that is over within its opening is not gone on with.
        over = [len(ids) < longest or (longest > 0 and ids[-1] in stop.token_ids) for ids in begun]
        prompts = [self._prompt(problem) + ids for problem, ids in zip(problems, begun, strict=True)]
        seen: Counter[str] = Counter()
        seeds = []
        for problem in problems:
            key = f"{problem.item}/{seen[problem.item]}"
            seeds.append(answer_seed(decoding.seed, key) if decoding.temperature > 0 else 0)
            seen[problem.item] += 1
        left = [i for i, ended in enumerate(over) if not ended]
        self._on_progress(len(problems) - len(left), 0)
        made = generate_in_chunks(
            self._engine,
            [prompts[i] for i in left],
            [seeds[i] for i in left],
            decoding.but(max_tokens=decoding.max_tokens - longest),
            stop,
            self._journal,
            self._chunk,
            self._on_progress,
        )
        generations = dict(zip(left, made, strict=True))
        return [self._answered(ids, generations.get(i)) for i, ids in enumerate(begun)]

    def _prompt(self, problem: Asked) -> list[int]:
        return self._chat.prompt_ids(framed(problem.messages, self._scores.framing))

    def _answered(self, opening: list[int], made: Generation | None) -> Answered:
        if made is None:
            text = self._chat.answer_text(self._chat.text(opening), opening)
            return Answered(text, len(opening), False, tuple(opening))
        ids = (*opening, *made.ids)
        text = self._chat.answer_text(self._chat.text(ids) if opening else made.text, ids)
        return Answered(text, len(opening) + made.tokens, made.finish_reason == "length", ids, made.filled)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-probabilities of single-token continuations; one forward pass serves all choices of a question."""
        prompts = {document_of(request): self._prompt(problem_of(request)) for request in requests}
        choices: dict[int, dict[str, int]] = {document: {} for document in prompts}
        for request in requests:
            ids = self._chat.answer_ids(choice_of(request))
            if len(ids) != 1:
                raise RunError(f"the choice {choice_of(request)!r} is {len(ids)} tokens of this model and must be one")
            choices[document_of(request)][choice_of(request)] = ids[0]
        rows = self._engine.next_logprobs(list(prompts.values()), [list(ids.values()) for ids in choices.values()])
        self._on_progress(len(prompts), 0)
        logprobs = {
            document: dict(zip(texts, row, strict=True))
            for (document, texts), row in zip(choices.items(), rows, strict=True)
        }
        self.answers = {
            document: Answered(max(values, key=values.__getitem__), 1, False) for document, values in logprobs.items()
        }
        return [(logprobs[document_of(request)][choice_of(request)], False) for request in requests]


class ScriptedLM(StudyLM):
    """Answers by rule, for the floor of a scorer; `others` are the answers to be shuffled, by sample and problem."""

    def __init__(self, behaviour: str, others: Sequence[Sequence[str]]):
        super().__init__()
        self._behaviour, self._others = behaviour, others

    def answer(self, problems: list[Asked]) -> list[Answered]:
        texts = {
            "echo": lambda: [problem.messages[-1]["content"] for problem in problems],
            "constant": lambda: [CONSTANT] * len(problems),
            "shuffled": lambda: shuffled(self._others[self.sample], ""),
        }[self._behaviour]()
        return [Answered(text, len(text.split()), False) for text in texts]


def shuffled(answers: Sequence[T], none: T) -> list[T]:
    """The answers moved so that no problem keeps its own: a random cycle, the same each time; one alone gets `none`."""
    if len(answers) == 1:
        return [none]
    order = list(range(len(answers)))
    random.Random("shuffled").shuffle(order)
    moved = list(answers)
    for position, source in zip(order, order[1:] + order[:1], strict=True):
        moved[position] = answers[source]
    return moved
