"""Invented items tables that keep the results contract: realistic enough to draw, small enough to count by hand."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from offmodel.results import ITEM_COLUMNS, ITEM_NOTES, MEASURED

# task: title, kind, chance, items, whether it has levels, accuracy of the untrained student
TASKS: dict[str, tuple[str, str, float | None, int, bool, float]] = {
    "instructions": ("Instructions", "generate", None, 80, False, 0.55),
    "knowledge": ("Knowledge", "choice", 0.25, 150, False, 0.52),
    "arithmetic": ("Arithmetic", "generate", None, 120, True, 0.62),
}
# arm: what is lost on a task that needs long reasoning, and on any other task
LOSSES = {"on_model_sft": (0.03, 0.01), "off_model_sft": (0.38, 0.03), "off_model_dft": (0.20, 0.02)}
FLOORS = {"floor_echo": 0.02, "floor_constant": 0.05, "floor_shuffled": 0.03}


def tiny_items(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """An items table from rows that state only what matters to a test; the rest is filled in plainly: each arm, as its
    parameters tell it, has scores of its own for each seed and task."""
    plain = {name: None for name in ITEM_COLUMNS} | {
        "experiment": "01_degradation", "student": "small", "seed": 0, "sample": 0, "task": "sums",
        "task_title": "Sums", "kind": "generate", "response_tokens": 10, "truncated": False, "answered": True,
        "model_id": "m",
    }  # fmt: skip
    whole = [plain | row for row in rows]
    of_an_item = {*ITEM_NOTES, *MEASURED, "item", "level", "sample"}
    for row in whole:
        told = [str(value) for name, value in sorted(row.items()) if name not in of_an_item]
        row["scores_id"] = row["scores_id"] or "/".join(told)
    return pd.DataFrame(whole)


def arm_rows(arm: str, correct: str, **more: Any) -> list[dict[str, Any]]:
    """One row for each character of `correct` ("1" right, "0" wrong), items named i0, i1, …"""
    return [{"arm": arm, "item": f"i{i}", "correct": mark == "1", **more} for i, mark in enumerate(correct)]


def made_up_items(
    students: Sequence[str] = ("qwen0.5b",),
    teachers: Sequence[str] = ("smollm135m",),
    seeds: Sequence[int] = (0,),
    tasks: Sequence[str] = tuple(TASKS),
) -> pd.DataFrame:
    """A whole study: untrained, on-model, off-model SFT and DFT for each teacher, and the scripted floors."""
    rng = np.random.default_rng(1234)
    rows: list[dict[str, Any]] = []
    for student_number, student in enumerate(students):
        arms = [("untrained", None, None, seeds[:1])]
        arms += [("on_model_sft", student, "sft", seeds)]
        for teacher in teachers:
            arms += [("off_model_sft", teacher, "sft", seeds), ("off_model_dft", teacher, "dft", seeds)]
        for task in tasks:
            n, levelled, base = TASKS[task][3:]
            ease = rng.normal(0, 0.3, n)  # problems differ, so that arms agree on many of them
            for arm, teacher, objective, arm_seeds in arms:
                strength = 1.0 if teacher in (None, student) else 1.0 - 0.3 * teachers.index(teacher)
                for seed in arm_seeds:
                    for i in range(n):
                        level = 1 + i % 5
                        lost = LOSSES.get(arm, (0.0, 0.0))[0 if levelled else 1] * strength
                        hard = 0.11 * (3 - level) if levelled else 0.0
                        chance_right = base - 0.06 * student_number + hard + ease[i] - lost * (0.4 + 0.2 * level)
                        right = bool(rng.random() < np.clip(chance_right, 0.02, 0.98))
                        cut = bool(TASKS[task][1] == "generate" and not right and rng.random() < 0.15)
                        rows.append(_row(student, task, i, level if levelled else None, right, cut, rng) | {
                            "arm": arm, "teacher": teacher, "objective": objective, "seed": seed,
                            "adapter": "lora" if objective else None,
                            "model_id": f"{student}.{arm}.{teacher}.{seed}",
                        })  # fmt: skip
    for arm, student, task in product(FLOORS, students, tasks):
        _, kind, _, n, levelled, _ = TASKS[task]
        for i in range(n if kind == "generate" else 0):
            row = _row(student, task, i, 1 + i % 5 if levelled else None, bool(rng.random() < FLOORS[arm]), False, rng)
            rows.append(row | {"arm": arm, "seed": seeds[0], "model_id": arm})
    return tiny_items(rows)


def _row(
    student: str, task: str, i: int, level: int | None, right: bool, cut: bool, rng: np.random.Generator
) -> dict[str, Any]:
    title, kind, chance = TASKS[task][:3]
    return {
        "student": student, "task": task, "task_title": title, "kind": kind, "chance": chance,
        "item": f"{task}-{i:03d}", "level": None if level is None else str(level), "correct": right, "truncated": cut,
        "answered": not cut and (right or bool(rng.random() < 0.9)),
        "response_tokens": int(rng.integers(60, 320)) if kind == "generate" else 1,
    }  # fmt: skip
