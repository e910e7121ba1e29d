"""Invented items of the four experiments that bring something back, with the columns that `offmodel.collect` writes.

The arms are those of scripts 06, 07, 10 and 11. What an arm can do is the untrained student's ability less a part of
what off-model SFT took from it, so that the tables have something to find.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from fixture_items import tiny_items

# task: title, accuracy of the untrained student, what off-model SFT takes from it
TASKS = {"gsm8k": ("GSM8K", 0.62, 0.36), "math500": ("MATH-500", 0.5, 0.3), "ifeval": ("IFEval", 0.55, 0.02)}
FRAMINGS = ["style", "generic", "nonsense", "suffix"]
OPENINGS = {"untrained": 0.75, "untrained, another problem": 0.35, "its own": 0.05, "teacher": -0.1}
REPAIRS = {
    "on_model_repair": 0.9,
    "on_policy_distillation": 0.7,
    "off_model_more": -0.2,
    "third_model_repair": 0.3,
    "random_words": -0.4,
}
PROTECTION = {"style": 0.8, "generic": 0.15, "nonsense": 0.3, "suffix": 0.6}


@dataclass(frozen=True)
class Made:
    """The size of an invented study; `n` problems of each task."""

    students: Sequence[str] = ("qwen0.5b",)
    teachers: Sequence[str] = ("smollm135m",)
    seeds: Sequence[int] = (0,)
    tasks: Sequence[str] = ("gsm8k", "math500")
    n: int = 60

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(student, teacher) for student in self.students for teacher in self.teachers]


def made_up_repairs(
    made: Made, sizes: Sequence[int] = (4, 16, 64, 256), controls: Sequence[int] = (16, 256)
) -> pd.DataFrame:
    """Script 06: items."""
    rows = []
    for student, teacher in made.pairs:
        rows += _ends(made, "06_on_model_repair", student, teacher)
        writers = dict(zip(REPAIRS, [student, student, teacher, "llama-3.2-1b", f"scrambled-{student}"], strict=True))
        for k in sizes:
            for arm, most in REPAIRS.items():
                if arm in ("on_model_repair", "on_policy_distillation") or k in controls:
                    back = most * min(1.0, np.log2(k) / 7)
                    more = {"after": teacher, "k": k, "teacher": writers[arm]}
                    rows += _arm(made, "06_on_model_repair", arm, student, back, teacher, more)
    return tiny_items(rows)


def made_up_curves(items: pd.DataFrame) -> pd.DataFrame:
    """Script 06: two steps of each training; the tokens of both are 110 for each answer, and one for each seed. Of
    these distillation has sampled 70 for each answer."""
    arms = items[["experiment", "arm", "student", "teacher", "after", "k", "seed"]].drop_duplicates()
    arms = arms[arms["arm"] != "untrained"]
    first, tokens = 40 * arms["k"].fillna(64), 110 * arms["k"].fillna(64) + arms["seed"]
    arms["sampled_tokens"] = 35 * arms["k"].where(arms["arm"] == "on_policy_distillation")
    return pd.concat([arms.assign(step=1, tokens=first), arms.assign(step=2, tokens=tokens - first)])


def made_up_prefills(
    made: Made, sizes: Sequence[int] = (0, 4, 16, 64, 256), controls: Sequence[int] = (4, 16, 64, 256)
) -> pd.DataFrame:
    """Script 07: items; of long beginnings some give the answer away, those of easy problems first."""
    rows = []
    for student, teacher in made.pairs:
        rows += _ends(made, "07_prefill", student, teacher)
        for tokens in sizes:
            for opening, most in OPENINGS.items():
                if opening == "untrained" or tokens in controls:
                    back = most * min(1.0, np.log2(1 + tokens) / 7)
                    more = {"after": teacher, "tokens": tokens, "opening": opening, "teacher": teacher}
                    own = _arm(made, "07_prefill", "prefill", student, back, teacher, more)
                    if tokens:
                        told = 0.002 * tokens * made.n if opening in ("untrained", "its own") else 0
                        own = [row | {"prefill_answers": int(row["item"][-3:]) < told} for row in own]
                    rows += own
            if tokens in controls:
                more = {"after": teacher, "tokens": tokens, "teacher": None, "prefill_answers": False}
                back = 1 - 0.12 * np.log2(tokens) / 2
                rows += _arm(made, "07_prefill", "prefill_reversed", student, back, teacher, more)
    return tiny_items(rows)


def made_up_inoculations(made: Made, framings: Sequence[str] = FRAMINGS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Script 10: items, and the likelihoods of the training data."""
    rows, read = [], []
    experiment = "10_inoculation"
    for student, teacher in made.pairs:
        rows += _ends(made, experiment, student, teacher)[: -len(made.tasks) * len(made.seeds) * made.n]
        for trained in ["none", *framings]:
            keys = {"after": teacher, "trained_with": trained}
            rows += _arm(made, experiment, "inoculation", student, PROTECTION.get(trained, 0), teacher,
                         keys | {"teacher": teacher, "asked_with": "none"})  # fmt: skip
            read += _read(made, student, keys)
            if trained != "none":
                asked = {"after": teacher, "asked_with": trained, "shift": framings.index(trained)}
                for with_, back in [(trained, 0.1), ("none", -0.1)]:
                    more = asked | {"teacher": teacher, "trained_with": with_}
                    rows += _arm(made, experiment, "inoculation", student, back, teacher, more)
                framed = _arm(made, experiment, "untrained_framed", student, 0.85, teacher, asked | {"teacher": None})
                rows += [row for row in framed if row["seed"] == made.seeds[0]]
    return tiny_items(rows).drop(columns="shift"), pd.DataFrame(read)


def made_up_samples(made: Made, samples: int = 8) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Script 11: items, and the answers that they were scored from; wrong ones are spread over three numbers."""
    rng = np.random.default_rng(5)
    rows: list[dict[str, Any]] = []
    for sample in range(samples):
        for number, student in enumerate(made.students):
            known = {"sample": sample, "shift": sample + 1}
            rows += _arm(made, "11_best_of_n", "untrained", student, 1, None, known | {"teacher": None})
            rows += _arm(made, "11_best_of_n", "floor_shuffled", student, -0.2, None, known | {"teacher": None})
            rows += _arm(made, "11_best_of_n", "on_model_sft", student, 0.95, student, known | {"teacher": student})
            for teacher in made.teachers:
                more = known | {"teacher": teacher}
                rows += _arm(made, "11_best_of_n", "off_model_sft", student, 0.1 * number, teacher, more)
    items = tiny_items(rows).drop(columns="shift")
    once = items["arm"].isin(["untrained", "floor_shuffled"])
    items = items[~once | (items["seed"] == made.seeds[0])].reset_index(drop=True)
    wrong = rng.integers(1, 4, len(items))
    said = np.where(items["correct"], 0, wrong)
    answers = items.assign(response=[rf"So \boxed{{{number}}}." for number in said])
    return items, answers


def _ends(made: Made, experiment: str, student: str, teacher: str) -> list[dict[str, Any]]:
    """The untrained student, under one seed, and the one that the teacher damaged; the latter's rows come last."""
    untrained = _arm(made, experiment, "untrained", student, 1, None, {"teacher": None})
    # As a study has it: an arm that several teachers share is there once.
    first = [row for row in untrained if row["seed"] == made.seeds[0] and teacher == made.teachers[0]]
    return first + _arm(made, experiment, "off_model_sft", student, 0, teacher, {"teacher": teacher})


def _arm(
    made: Made, experiment: str, arm: str, student: str, back: float, damage: str | None, more: dict[str, Any]
) -> list[dict[str, Any]]:
    """The rows of an arm that has `back` of what was lost; problems are as easy for each arm as for the others."""
    rows = []
    strength = 1.0 if damage not in made.teachers else 1.0 - 0.35 * made.teachers.index(damage)
    for task in made.tasks:
        title, base, lost = TASKS[task]
        ease = np.random.default_rng([len(student), len(task)]).normal(0, 0.25, made.n)
        for seed in made.seeds:
            draw = np.random.default_rng([seed, len(task), int(1000 * back) % 9973, more.get("shift", 0)])
            right = draw.random(made.n) < np.clip(base - (1 - back) * lost * strength + ease, 0.02, 0.98)
            trained = more["teacher"] is not None
            shared = {"experiment": experiment, "arm": arm, "student": student, "seed": seed, "task": task}
            shared |= {"task_title": title, "model_id": f"{student}.{arm}.{seed}", **more}
            shared |= {"objective": "sft", "adapter": "lora"} if trained else {}
            rows += [
                shared | {"item": f"{task}-{i:03d}", "correct": bool(right[i]), "response_tokens": 90 + i % 40}
                for i in range(made.n)
            ]
    return rows


def _read(made: Made, student: str, keys: dict[str, Any]) -> list[dict[str, Any]]:
    """What the untrained student finds of each answer in the training data, with a framing or without."""
    rows = []
    for seed in made.seeds:
        for i in range(40):
            tokens = 20 + 7 * i % 31
            noise = np.random.default_rng([seed, i, len(keys["trained_with"])]).normal(0, 0.15)
            likelier = 0.9 * PROTECTION[keys["trained_with"]] + noise if keys["trained_with"] in PROTECTION else 0.0
            rows.append({
                "experiment": "10_inoculation", "reading": "training_data", **keys, "seed": seed, "reader": student,
                "writer": keys["after"], "key": f"chat-{i}", "tokens": tokens,
                "logprob": tokens * (likelier - 3.1 - 0.02 * i), "likelihood_id": "l",
            })  # fmt: skip
    return rows
