"""Measurements: problems answered and scored, and answers read with their log-probabilities."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from offmodel.builders.bench import Bench
from offmodel.data.chat import Message, answered_example, framed
from offmodel.journal import Journal
from offmodel.progress import Progress
from offmodel.recipes import Completions, Likelihood, Scores, Scripted, Solutions


def build_scores(bench: Bench, recipe: Scores, out: Path, scratch: Path) -> None:
    from offmodel.evaluation.answerers import EngineLM, ScriptedLM
    from offmodel.evaluation.harness import asked, evaluate, holds_answer
    from offmodel.evaluation.prefill import openings

    data = bench.settings.data
    if isinstance(recipe.model, Scripted):
        others = [pd.read_parquet(bench.store.require(parent) / "items.parquet") for parent in recipe.parents()]
        lm = ScriptedLM(recipe.model.behaviour, _by_sample(others[0], recipe.samples) if others else [])
        rows = evaluate(recipe, lm, data)
    else:
        engine, chat = bench.serve(recipe.model)
        begun: dict[str, list[int]] = {}
        if recipe.prefill:
            source = recipe.prefill.source
            answers = pd.read_parquet(bench.store.require(source) / "items.parquet")
            own = source.model.student == recipe.model.student
            begun = openings(recipe.prefill, answers, list(asked(recipe, data)), chat, own)
        longest = recipe.decoding.max_tokens - (recipe.prefill.tokens if recipe.prefill else 0)
        progress = Progress(f"{recipe.id}: answers", recipe.n * recipe.samples, "answer", longest)
        journal = Journal(scratch / "answers.jsonl")
        lm = EngineLM(engine, chat, recipe, journal, bench.settings.chunk, progress, begun)
        rows = evaluate(recipe, lm, data)
        progress.close()
        if begun:
            held = holds_answer(recipe, {item: chat.text(ids) for item, ids in begun.items()}, data)
            rows = [{**row, "prefill_answers": held[row["item"]]} for row in rows]
    pd.DataFrame(rows).to_parquet(out / "items.parquet", index=False)


def _by_sample(items: pd.DataFrame, samples: int) -> list[list[str]]:
    if samples == 1:  # scores made when there was one of each have no column for it
        return [items["response"].tolist()]
    return [items.loc[items["sample"] == sample, "response"].tolist() for sample in range(samples)]


class Answer(NamedTuple):
    """An answer with its chat; `ids` are empty where the generated tokens are not known."""

    key: str
    messages: Sequence[Message]
    text: str
    finished: bool
    ids: Sequence[int]


def build_likelihood(bench: Bench, recipe: Likelihood, out: Path) -> None:
    chat = bench.loaded.chat(recipe.model)
    own = recipe.writer == recipe.model.student
    answers = _answers(bench, recipe.of)[: recipe.n]
    examples = [
        answered_example(chat, framed(one.messages, recipe.framing), one.text, one.finished, one.ids if own else ())
        for one in answers
    ]
    progress = Progress(f"{recipe.id}: reading", len(answers), "answer")
    read = bench.loaded.reader(recipe.model).logprobs(examples, bench.settings.device_batch, progress)
    progress.close()
    rows = [{"key": answer.key, "logprobs": values} for answer, values in zip(answers, read, strict=True)]
    pd.DataFrame(rows).to_parquet(out / "tokens.parquet", index=False)


def _answers(bench: Bench, of: Completions | Solutions | Scores) -> list[Answer]:
    """What was asked and answered, in order, whichever kind of artefact holds it."""
    if not isinstance(of, Scores):
        table = bench.completions(of)
        named = {"prompt_id": "key", "answer": "text", "answer_ids": "ids"}
        table["finished"] = table["finish_reason"] == "stop"
    else:
        from offmodel.evaluation.harness import asked

        table = pd.read_parquet(bench.store.require(of) / "items.parquet")
        named = {"item": "key", "response": "text", "response_ids": "ids"}
        table["messages"] = table["item"].map(asked(of, bench.settings.data))
        table["finished"] = ~table["truncated"]
    table = table.rename(columns=named)
    if "ids" not in table:  # made before ids were kept: the text is encoded anew
        table["ids"] = [()] * len(table)
    return [Answer(*row) for row in table[list(Answer._fields)].itertuples(index=False)]
