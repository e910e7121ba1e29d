"""Trainings: on answers, on pairs of answers, and on what the student itself samples."""

import math
from pathlib import Path

import pandas as pd

from offmodel.builders.bench import PREFERENCES, Bench
from offmodel.data.chat import example, framed
from offmodel.data.problems import load_problems
from offmodel.data.prompts import load_prompts
from offmodel.errors import RunError
from offmodel.memory import pairs_at_once
from offmodel.progress import Progress
from offmodel.recipes import Distilled, Preferred, Reinforced, Trained

_STEPS_OF_AN_UPDATE = 8
"""A step of SFT takes an eighth, or less, of what an update takes for which answers are sampled, or a step of DPO."""


def build_trained(bench: Bench, recipe: Trained, out: Path, scratch: Path) -> None:
    chat = bench.loaded.chat(recipe.start)
    data = bench.completions(recipe.data)
    made = [
        example(
            chat,
            framed(row["messages"], recipe.framing),
            row["answer"],
            row["finish_reason"] == "stop",
            recipe.training.max_length,
        )
        for row in data.to_dict("records")
        if row["answer"]
    ]
    examples = [one for one in made if one is not None]
    if not examples:
        raise RunError(f"{recipe.data.id} holds no answer to learn from")
    trainer = bench.loaded.trainer(recipe.start)
    progress = Progress(f"{recipe.id}: training", 0, "step")
    bench.details |= {"examples": len(examples), "examples_left_out": len(data) - len(examples)}
    bench.details["dtype"] = str(trainer.dtype).removeprefix("torch.")
    trainer.train(
        examples,
        recipe.training,
        out,
        scratch,
        on_progress=progress.at,
        save_every=bench.settings.save_every,
        device_batch=math.gcd(recipe.training.batch_size, bench.settings.device_batch),
        gradient_checkpointing=bench.settings.gradient_checkpointing,
    )
    progress.close()


def build_preferred(bench: Bench, recipe: Preferred, out: Path, scratch: Path) -> None:
    from offmodel.training.dpo import Pair, train_dpo

    start, chat = bench.loaded.checkpoint(recipe.start), bench.loaded.chat(recipe.start)
    rows = pd.read_parquet(bench.store.require(recipe.data) / PREFERENCES).to_dict("records")
    pairs: list[Pair] = []
    for row in rows:
        chosen, rejected = (
            example(chat, row["messages"], row[side], row[f"{side}_finish_reason"] == "stop", recipe.dpo.max_length)
            for side in Pair._fields
        )
        if chosen and rejected:
            pairs.append(Pair(chosen, rejected))
    if not pairs:
        raise RunError(f"{recipe.data.id} holds no pair whose answers both begin within max_length")
    bench.details |= {"pairs": len(pairs), "pairs_left_out": len(rows) - len(pairs)}
    bench.loaded.drop()
    progress = Progress(f"{recipe.id}: training", 0, "step")
    train_dpo(
        start,
        pairs,
        recipe.dpo,
        out,
        scratch,
        on_progress=progress.at,
        save_every=max(1, bench.settings.save_every // _STEPS_OF_AN_UPDATE),
        device_batch=math.gcd(recipe.dpo.batch_size, pairs_at_once(bench.settings.device_batch)),
    )
    progress.close()


def build_reinforced(bench: Bench, recipe: Reinforced, out: Path, scratch: Path) -> None:
    from offmodel.training.grpo import train_grpo

    start = bench.loaded.checkpoint(recipe.start)
    bench.loaded.drop()
    progress = Progress(f"{recipe.id}: updates", 0, "update")
    answers = recipe.rl.prompts_per_update * recipe.rl.group
    train_grpo(
        start,
        bench.loaded.chat(recipe.start),
        # a source may have problems whose answer cannot be read off their solution
        [problem for problem in load_problems(recipe.problems, bench.settings.data) if problem.answer],
        recipe.rl,
        out,
        scratch,
        on_progress=progress.at,
        save_every=max(1, bench.settings.save_every // _STEPS_OF_AN_UPDATE),
        device_batch=math.gcd(answers, bench.settings.device_batch),
    )
    progress.close()


def build_distilled(bench: Bench, recipe: Distilled, out: Path, scratch: Path) -> None:
    from offmodel.training.distillation import train_distilled

    start = bench.loaded.checkpoint(recipe.start)
    bench.loaded.drop()
    progress = Progress(f"{recipe.id}: updates", 0, "update")
    _, answers = recipe.distillation.updates(recipe.prompts.n)
    train_distilled(
        start,
        bench.loaded.checkpoint(recipe.towards),
        bench.loaded.chat(recipe.start),
        [prompt["messages"] for prompt in load_prompts(recipe.prompts, bench.settings.data)],
        recipe.distillation,
        out,
        scratch,
        on_progress=progress.at,
        save_every=max(1, bench.settings.save_every // _STEPS_OF_AN_UPDATE),
        device_batch=math.gcd(answers, bench.settings.device_batch),
    )
    progress.close()
