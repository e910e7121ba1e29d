"""What students are trained on: a model's answers, what is made of them, and samples chosen by a checker."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from offmodel.builders.bench import COMPLETIONS, PREFERENCES, Bench
from offmodel.data.chat import Message
from offmodel.data.derived import Verdicts, accepted, mixed, preferences, scrambled, solutions, solutions_instead
from offmodel.data.problems import load_problems
from offmodel.data.prompts import load_prompts
from offmodel.engines.answering import generate_in_chunks, stop_of
from offmodel.engines.api import answer_by_api, told
from offmodel.engines.base import answer_seed
from offmodel.engines.provider import ApiModel
from offmodel.errors import RunError
from offmodel.journal import Journal
from offmodel.models import MODELS
from offmodel.progress import Progress
from offmodel.recipes import Accepted, Completions, Mixture, Preferences, Scrambled, Solutions, SolutionsInstead
from offmodel.training.rewards import REWARDS, check_answers, judge


def build_completions(bench: Bench, recipe: Completions, out: Path, scratch: Path) -> None:
    prompts = load_prompts(recipe.prompts, bench.settings.data)
    system: list[Message] = [{"role": "system", "content": recipe.system}] if recipe.system is not None else []
    chats = [[*system, *prompt["messages"]] for prompt in prompts]
    seeds = [answer_seed(recipe.decoding.seed, prompt["id"]) for prompt in prompts]
    journal = Journal(scratch / "answers.jsonl")
    progress = Progress(f"{recipe.id}: answers", len(prompts), "answer", recipe.decoding.max_tokens)
    source = MODELS[recipe.model.student].source
    lengths: list[int | None] = [None] * len(prompts)  # a provider does not say how it counts
    if isinstance(source, ApiModel):
        keys = [prompt["id"] for prompt in prompts]
        replies = answer_by_api(source, chats, keys, seeds, recipe.decoding, journal, progress)
        answers = [reply.generation for reply in replies]
        bench.details |= told(source, replies)
    else:
        engine, chat = bench.serve(recipe.model)
        ids = [chat.prompt_ids(messages) for messages in chats]
        lengths = [len(prompt_ids) for prompt_ids in ids]
        answers = generate_in_chunks(
            engine, ids, seeds, recipe.decoding, stop_of(chat), journal, bench.settings.chunk, progress
        )
        answers = [replace(answer, text=chat.answer_text(answer.text, answer.ids)) for answer in answers]
    progress.close()
    rows = [
        {
            "prompt_id": prompt["id"],
            "messages": prompt["messages"],
            "answer": answer.text.strip(),
            "prompt_tokens": length,
            "answer_tokens": answer.tokens,
            "answer_ids": list(answer.ids),
            "finish_reason": answer.finish_reason,
        }
        for prompt, length, answer in zip(prompts, lengths, answers, strict=True)
    ]
    table = pd.DataFrame(rows).astype({"prompt_tokens": "Int64"})
    table.to_parquet(out / COMPLETIONS, index=False)


def build_derived(bench: Bench, recipe: Scrambled | Mixture | Solutions | SolutionsInstead, out: Path) -> None:
    match recipe:
        case Scrambled():
            table = scrambled(bench.completions(recipe.of), recipe.seed)
        case Mixture():
            of, other = (bench.completions(part) for part in (recipe.of, recipe.other))
            table = mixed(of, other, recipe.share, recipe.seed)
        case Solutions():
            table = solutions(load_problems(recipe.problems, bench.settings.data))
        case SolutionsInstead():
            problems = load_problems(recipe.of.of[0].prompts, bench.settings.data)
            table = solutions_instead(bench.completions(recipe.of), problems)
    table.to_parquet(out / COMPLETIONS, index=False)


def build_accepted(bench: Bench, recipe: Accepted, out: Path, scratch: Path) -> None:
    samples, verdicts = _judged(bench, recipe, scratch)
    table = accepted(samples, verdicts)
    if table.empty:
        raise RunError(
            f"none of {recipe.teacher}'s {recipe.answers} answers is right, so there is nothing to learn from; "
            "take easier problems or another student"
        )
    bench.details["problems_without_right"] = recipe.of[0].size - table["prompt_id"].nunique()
    table.to_parquet(out / COMPLETIONS, index=False)


def build_preferences(bench: Bench, recipe: Preferences, out: Path, scratch: Path) -> None:
    samples, verdicts = _judged(bench, recipe, scratch)
    table = preferences(samples, verdicts, recipe.seed)
    if table.empty:
        raise RunError(
            f"no problem has a right and a wrong one among {recipe.teacher}'s {len(recipe.of)} answers to it, so "
            "there is no pair to learn from; draw more answers, or take other problems"
        )
    without = recipe.of[0].size - table["prompt_id"].nunique()
    bench.details |= {"pairs": len(table), "problems_without_pair": without}
    table.to_parquet(out / PREFERENCES, index=False)


def _judged(bench: Bench, recipe: Accepted | Preferences, scratch: Path) -> tuple[list[pd.DataFrame], Verdicts]:
    """The samples with a verdict on each answer, judged as the benchmark of these problems judges."""
    samples = [bench.completions(one) for one in recipe.of]
    answers = [problem.answer for problem in load_problems(recipe.of[0].prompts, bench.settings.data)]
    check_answers(recipe.reward, [answer for answer in answers if answer])
    journal, chunk = Journal(scratch / "verdicts.jsonl"), bench.settings.chunk
    progress = Progress(f"{recipe.id}: verdicts", recipe.answers, "answer")
    verdicts: list[list[bool | None]] = []
    for number, table in enumerate(samples):
        verdicts.append([])
        for first in range(0, len(table), chunk):
            key, part = f"{number}/{chunk}/{first}", slice(first, first + chunk)
            told, tokens = journal.get(key), 0
            if told is None:
                judged = judge(REWARDS[recipe.reward], table["answer"].tolist()[part], answers[part])
                told = [
                    one.reward == 1 if answer and one.failure is None else None
                    for one, answer in zip(judged, answers[part], strict=True)
                ]
                journal.put(key, told)
                tokens = int(table["answer_tokens"][part].sum())
            progress(len(told), tokens)
            verdicts[-1] += told
    progress.close()
    flat = [verdict for of_sample in verdicts for verdict in of_sample]
    bench.details |= {"answers": len(flat), "right": flat.count(True), "without_verdict": flat.count(None)}
    return samples, verdicts
