"""The tables of the interventions in words, on small tables made by hand."""

import math
from typing import Any

import pandas as pd

from analysis.recovery_text import markdown_beginnings, markdown_costs, recovery_lines
from offmodel.costs import COST_COLUMNS, TRAINED


def cost(**given: Any) -> dict[str, Any]:
    pair = {"student": "small", "after": "big", "task": "sums", "task_title": "Sums"}
    return dict.fromkeys(COST_COLUMNS) | pair | {"cost_kind": TRAINED, "setting": "k = 4"} | given


def test_a_setting_says_its_tokens_and_what_it_recovers():
    costs = pd.DataFrame([
        cost(intervention="on_model_repair", cost_tokens=1234.4, fraction=0.5, low=0.25, high=1.0),
        cost(intervention="pass@k", cost_tokens=math.nan, fraction=math.nan, low=math.nan, high=math.nan),
    ])  # fmt: skip
    lines = markdown_costs(costs).splitlines()
    assert lines[0] == "**Sums**, small taught by big"
    assert lines[4] == "| on-model repair | k = 4 | 1,234 | trained once | 0.50 [0.25, 1.00] |"
    assert lines[5] == "| pass@k | k = 4 |  | trained once | undefined |"


def test_a_row_says_what_it_is_and_nothing_is_recovered_by_the_untrained():
    scored = {"task_title": "Sums", "accuracy": 0.25, "low": 0.2, "high": 0.3, "n": 80}
    none = {"fraction": math.nan, "fraction_low": math.nan, "fraction_high": math.nan, "k": None}
    rows = [
        scored | none | {"arm": "untrained"},
        scored | {"arm": "on_model_repair", "k": 16, "fraction": 0.0, "fraction_low": None, "fraction_high": None},
        scored | none | {"arm": "random_words", "k": 16, "n": 0},
    ]
    assert recovery_lines(pd.DataFrame(rows).astype({"k": "Int64"}), ["arm", "k"]).splitlines() == [
        "- Sums, untrained: 25.0 % [20.0, 30.0] of 80",
        "- Sums, on-model repair, k 16: 25.0 % [20.0, 30.0] of 80, recovered 0.00 [no interval]",
        "- Sums, random words, k 16: no problem is left, recovered undefined",
    ]


def test_what_a_beginning_hands_over_is_counted_by_how_it_begins():
    texts = {"a": "4 * 7 = 28", "b": "Zoe has 4 * 7 pets.", "c": "12 is the answer."}
    right = {
        ("untrained", None): "ab",
        ("off_model_sft", None): "c",
        ("prefill", "untrained"): "a",
        ("prefill", "teacher"): "abc",
    }
    items = [
        {
            "task": "sums",
            "arm": arm,
            "item": item,
            "correct": item in solved,
            "opening": opening,
            "tokens": opening and 4,
        }
        for (arm, opening), solved in right.items()
        for item in texts
    ]
    answers = [{"task": "sums", "arm": "untrained", "item": item, "response": text} for item, text in texts.items()]
    assert markdown_beginnings(pd.DataFrame(items), pd.DataFrame(answers), "sums", 4).splitlines()[2:] == [
        "| the calculation | 1 | 1 | 1 | 0 |",
        "| words, or another number | 2 | 1 | 0 | 1 |",
    ]
