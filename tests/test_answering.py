"""Answers in journalled chunks: what is there is not generated again."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from offmodel.engines.answering import generate_in_chunks
from offmodel.engines.base import Generation, OnProgress, Stop
from offmodel.errors import RunError
from offmodel.journal import Journal
from offmodel.values import Decoding


class CountingEngine:
    """Answers with a prompt's id and seed, keeps count, and fails at a given prompt."""

    name = "counting"

    def __init__(self, fails_at: int | None = None, context: int | None = None) -> None:
        self.context = context
        self.answered: list[int] = []
        self._fails_at = fails_at

    def load(self, folder: Path) -> None: ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        decoding: Decoding,
        stop: Stop,
        on_progress: OnProgress,
    ) -> list[Generation]:
        if self._fails_at in [ids[0] for ids in prompts]:
            raise RuntimeError("out of memory")
        self.answered += [ids[0] for ids in prompts]
        return [
            Generation(f"{ids[0]}/{seed}", 1, "stop", (ids[0], seed)) for ids, seed in zip(prompts, seeds, strict=True)
        ]

    def next_logprobs(self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> list[list[float]]:
        raise NotImplementedError


def ask(engine: CountingEngine, journal: Path, chunk: int = 3) -> list[Generation]:
    prompts = [[i] for i in range(8)]
    seeds = [10 * i for i in range(8)]
    return generate_in_chunks(
        engine, prompts, seeds, Decoding(temperature=1, max_tokens=1), Stop(), Journal(journal), chunk, lambda *_: None
    )


def test_no_answer_is_cut_by_the_context_of_the_engine(tmp_path: Path) -> None:
    short = CountingEngine(context=1)
    with pytest.raises(
        RunError, match=r"a prompt of 1 tokens and an answer of up to 1 do not fit into a context of 1:"
    ):
        ask(short, tmp_path / "answers.jsonl")
    assert not short.answered
    assert len(ask(CountingEngine(context=2), tmp_path / "answers.jsonl")) == 8


def test_a_resumed_run_generates_only_what_is_missing(tmp_path: Path) -> None:
    journal = tmp_path / "answers.jsonl"
    with pytest.raises(RuntimeError):
        ask(CountingEngine(fails_at=4), journal)
    resumed = CountingEngine()
    assert ask(resumed, journal) == [Generation(f"{i}/{10 * i}", 1, "stop", (i, 10 * i)) for i in range(8)]
    assert resumed.answered == [3, 4, 5, 6, 7]
    again = CountingEngine()
    ask(again, journal)
    assert again.answered == []


def test_other_chunks_share_nothing(tmp_path: Path) -> None:
    ask(CountingEngine(), tmp_path / "answers.jsonl", chunk=3)
    other = CountingEngine()
    ask(other, tmp_path / "answers.jsonl", chunk=4)
    assert other.answered == list(range(8))
