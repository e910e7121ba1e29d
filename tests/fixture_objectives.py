"""Invented tables of scripts 18 and 12, with the columns that `offmodel.collect` and `offmodel.style` write."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from fixture_items import tiny_items

# task: title, accuracy of the untrained student, what off-model SFT takes from it
TASKS = {"gsm8k": ("GSM8K", 0.62, 0.36), "math500": ("MATH-500", 0.5, 0.3), "ifeval": ("IFEval", 0.55, 0.06)}
# arm: how much of SFT's loss it has, and how much of SFT's uptake
OBJECTIVES = {
    "sft": (1.0, 1.0), "dft": (0.55, 0.45), "dft_sentence": (0.3, 0.12), "dft_geometric": (0.25, 0.18),
    "iw_sft": (0.8, 0.72), "asft": (0.35, 0.4), "sft_kl": (0.5, 0.7), "flow": (0.9, 0.85), "stm": (0.45, 0.55),
    "clip": (0.4, 0.7), "eaft": (0.75, 0.6), "sed": (1.05, 0.95),
}  # fmt: skip
MIXED = {0.1: (0.85, 0.97), 0.5: (0.4, 0.75)}
UNREAD = {"experiment": "18_objectives", "learning_rate": None, "on_model_share": None}


@dataclass(frozen=True)
class Made:
    """The size of an invented study; `n` problems of each task, `prompts` held-out ones."""

    students: Sequence[str] = ("qwen0.5b",)
    teachers: Sequence[str] = ("smollm135m",)
    seeds: Sequence[int] = (0,)
    tasks: Sequence[str] = ("gsm8k", "math500", "ifeval")
    rates: Sequence[float] = (1e-4, 3e-4, 1e-3)
    n: int = 100
    prompts: int = 40
    updates: int = 50


def made_up_objectives(made: Made) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Script 18: items, likelihoods, and the style of the items' answers."""
    rows: list[dict[str, Any]] = []
    read: list[dict[str, Any]] = []
    for student in made.students:
        rows += _scored(made, student, {"arm": "untrained", "teacher": None}, 0.0)
        rows += _scored(made, student, {"arm": "on_model_sft", "teacher": student}, 0.06)
        for teacher in made.teachers:
            after = {"after": teacher, "writer": teacher, "reader": student}
            read += _read(made, after | {"arm": "untrained"}, 0.0) + _read(made, after | {"arm": "on_model_sft"}, 0.05)
            for number, rate in enumerate(made.rates):
                strength = (0.5 + 0.5 * number) / (0.5 * len(made.rates))
                at_rate = [({"arm": f"off_model_{name}"}, had) for name, had in OBJECTIVES.items()]
                at_rate += [({"arm": "off_model_mixed", "on_model_share": share}, had) for share, had in MIXED.items()]
                for arm, (lost, learned) in at_rate:
                    keys = arm | {"learning_rate": rate}
                    rows += _scored(made, student, keys | {"teacher": teacher}, lost * strength)
                    read += _read(made, after | keys, 0.8 * learned * strength**0.5)
    items = tiny_items([UNREAD | row for row in rows])
    return items, pd.DataFrame([UNREAD | row for row in read]), made_up_style(items)


def made_up_rl(made: Made) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Script 12: items, curves and style; right answers bring back most of what was lost, the form alone a quarter."""
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    snapshots = [made.updates // 5, made.updates // 2, made.updates]
    for student in made.students:
        rows += _scored(made, student, {"arm": "untrained", "teacher": None}, 0.0)
        for teacher in made.teachers:
            rows += _scored(made, student, {"arm": "off_model_sft", "teacher": teacher}, 1.0)
            for start, reward in product(["off_model_sft", "untrained"], ["number", "format"]):
                keys = {"arm": "rl", "after": teacher, "start": start, "reward": reward}
                back = {"number": 0.8, "format": 0.25}[reward]
                for update in snapshots:
                    won = back * update / made.updates if start == "off_model_sft" else 0.15 * back
                    rl = keys | {"updates": update, "teacher": None, "objective": "grpo", "adapter": "lora"}
                    lost = float(start == "off_model_sft") - won
                    rows += [row | rl for row in _scored(made, student, rl | {"teacher": teacher}, lost)]
                curves += _curve(made, keys | {"student": student, "updates": made.updates})
    unset = dict.fromkeys(["after", "start", "reward", "updates"])
    items = tiny_items([unset | row | {"experiment": "12_rl"} for row in rows])
    return items, pd.DataFrame(curves).assign(experiment="12_rl"), made_up_style(items)


def made_up_style(items: pd.DataFrame) -> pd.DataFrame:
    """A style table: the more of the untrained accuracy is lost, the more foreign the answers."""
    rng = np.random.default_rng(7)
    taught = items["teacher"].notna() & (items["teacher"] != items["student"])
    parts = []
    for student, teacher in items.loc[taught, ["student", "teacher"]].drop_duplicates().to_numpy():
        rows = items[(items["student"] == student) & (~taught | (items["teacher"] == teacher))]
        by_arm = rows.groupby("model_id")["correct"].transform("mean")
        lean = np.where(rows["arm"].isin(["untrained", "on_model_sft"]), 0.2, 0.85 - 0.9 * by_arm.astype(float))
        probability = np.clip(lean + rng.normal(0, 0.15, len(rows)), 0.01, 0.99)
        numbers = {"classifier_accuracy": 0.94, "classifier_low": 0.91, "classifier_high": 0.96, "classifier_n": 512}
        parts.append(rows.assign(compared_with=teacher, teacher_probability=probability, **numbers))
    return pd.concat(parts, ignore_index=True)


def _scored(made: Made, student: str, keys: dict[str, Any], lost: float) -> list[dict[str, Any]]:
    rows = []
    off_model = keys["teacher"] in made.teachers
    strength = 1.0 - 0.35 * made.teachers.index(keys["teacher"]) if off_model else 1.0
    for task in made.tasks:
        title, base, most = TASKS[task]
        ease = np.random.default_rng([len(student), len(task)]).normal(0, 0.25, made.n)
        for seed in made.seeds if keys["teacher"] else made.seeds[:1]:
            luck = np.random.default_rng([seed, len(task), len(student)]).random(made.n)
            luck = (luck + np.random.default_rng([seed, abs(int(1e4 * lost))]).normal(0, 0.08, made.n)).clip(0, 1)
            right = luck < np.clip(base - lost * most * strength + ease, 0.02, 0.98)
            shared = {"student": student, "seed": seed, "task": task, "task_title": title, **keys}
            shared |= {"experiment": "18_objectives", "model_id": f"{student} {keys} {seed}"} | keys
            shared |= {"objective": "sft", "adapter": "lora"} if keys["teacher"] else {}
            rows += [shared | {"item": f"{task}-{i:03d}", "correct": bool(right[i])} for i in range(made.n)]
    return rows


def _read(made: Made, keys: dict[str, Any], learned: float) -> list[dict[str, Any]]:
    """How likely a student finds the teacher's answers to held-out prompts, which differ from seed to seed."""
    rows = []
    for seed in made.seeds:
        rng = np.random.default_rng([seed, int(1e4 * learned)])
        for i in range(made.prompts):
            tokens = 20 + (7 * i + 3 * seed) % 31
            nats = tokens * (learned * (0.6 + 0.8 * (i % 5) / 4) + rng.normal(0, 0.1) * (learned > 0) - 3.1)
            rows.append({"reading": "teacher_unseen", "seed": seed, "key": f"chat-{i}", "tokens": tokens,
                         "logprob": nats, "likelihood_id": "l", **keys})  # fmt: skip
    return rows


def _curve(made: Made, keys: dict[str, Any]) -> list[dict[str, Any]]:
    """What was earned at each update of a training and seed."""
    rows = []
    for seed in made.seeds:
        form = keys["reward"] == "format"
        noise = np.random.default_rng([seed, len(keys["start"]), form]).normal(0, 0.05, made.updates)
        for step in range(1, made.updates + 1):
            earned = (0.15 if keys["start"] == "off_model_sft" else 0.4) + (0.3 + 0.2 * form) * step / made.updates
            earned += noise[step - 1]
            rows.append(keys | {"seed": seed, "step": step, "reward_of_step": float(np.clip(earned, 0, 1))})
    return rows
