"""The tables of the interventions in words, on small tables made by hand."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fixture_recovery import Made, made_up_curves, made_up_repairs, made_up_samples

from analysis.make_all import draw
from analysis.recovery_text import markdown_by_wording, markdown_costs, recovery_lines
from offmodel.costs import COST_COLUMNS, TRAINED
from offmodel.evaluation.registry import load_items
from offmodel.results import write_results


def cost(**given: Any) -> dict[str, Any]:
    pair = {"student": "small", "after": "big", "task": "sums", "task_title": "Sums"}
    return dict.fromkeys(COST_COLUMNS) | pair | {"cost_kind": TRAINED, "setting": "k = 4"} | given


def test_a_setting_says_its_tokens_and_what_it_recovers():
    costs = pd.DataFrame([
        cost(intervention="on_model_repair", cost_tokens=1234.4, accuracy=0.125, fraction=0.5, low=0.25, high=1.0,
             p=0.0625),
        cost(intervention="rl", cost_tokens=2000, sampled_tokens=500.4, accuracy=0.1, fraction=math.nan),
        cost(intervention="pass@k", cost_tokens=math.nan, sampled_tokens=math.nan,
             fraction=math.nan, low=math.nan, high=math.nan),
    ])  # fmt: skip
    lines = markdown_costs(costs).splitlines()
    assert lines[0] == "**Sums**, small taught by big"
    assert lines[4] == "| on-model repair | k = 4 | 1,234 | trained once | 12.5 | 0.50 [0.25, 1.00] | 0.062 |"
    assert lines[5] == "| RL | k = 4 | 2,000 (500 sampled) | trained once | 10.0 | undefined |  |"
    assert lines[6] == "| pass@k | k = 4 |  | trained once |  | undefined |  |"


def test_t4_puts_together_what_experiments_are_there(tmp_path: Path):
    made = Made(tasks=["gsm8k"], n=40)
    repairs, (drawn, answers) = made_up_repairs(made, [16], []), made_up_samples(made, samples=4)
    for items, more in [(repairs, {"curves": made_up_curves(repairs)}), (drawn, {"answers": answers})]:
        folder = tmp_path / items["experiment"].iloc[0]
        write_results(items, folder)
        for name, table in more.items():
            table.to_parquet(folder / f"{name}.parquet", index=False)
    (path,) = draw(tmp_path, tmp_path / "figures", ["T4"])
    rows = [line.split(" | ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert path.name == "T4.md"
    assert [row[0] for row in rows] == [
        "| on-model repair",
        "| on-policy distillation",
        *["| pass@k"] * 2,
        "| majority vote",
    ]
    own = repairs[repairs["arm"] == "on_model_repair"]["correct"].mean()
    assert rows[0][1:5] == ["k = 16", "1,760", "trained once", f"{100 * own:.1f}"]


def test_t4_of_a_study_that_brings_nothing_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert draw(tmp_path, tmp_path / "figures", ["T4"]) == []
    repairs = made_up_repairs(Made(tasks=["gsm8k"], n=20), [16], [])
    write_results(repairs[repairs["arm"].isin(["untrained", "off_model_sft"])], tmp_path / "06_on_model_repair")
    assert draw(tmp_path, tmp_path / "figures", ["T4"]) == []
    assert "T4 not drawn: nothing was tried" in capsys.readouterr().err


def test_a_row_says_what_it_is_and_nothing_is_recovered_by_the_untrained():
    scored = {"task_title": "Sums", "accuracy": 0.25, "low": 0.2, "high": 0.3, "n": 80}
    none = {"fraction": math.nan, "fraction_low": math.nan, "fraction_high": math.nan, "k": None}
    rows = [
        scored | none | {"arm": "untrained"},
        scored | {"arm": "on_model_repair", "k": 16, "fraction": 0.0, "fraction_low": None, "fraction_high": None},
        scored | none | {"arm": "random_words", "k": 16, "n": 0},
        scored | {"arm": "prefill_reversed", "fraction": 0.6, "fraction_low": 0.1, "fraction_high": 0.9},
        scored | {"arm": "untrained_framed", "fraction": 1.2, "fraction_low": 0.7, "fraction_high": 1.9},
    ]
    assert recovery_lines(pd.DataFrame(rows).astype({"k": "Int64"}), ["arm", "k"]).splitlines() == [
        "- Sums, untrained: 25.0 % [20.0, 30.0] of 80",
        "- Sums, on-model repair, k 16: 25.0 % [20.0, 30.0] of 80, recovered 0.00 [no interval]",
        "- Sums, random words, k 16: no problem is left, recovered undefined",
        "- Sums, untrained, given off-model beginning: 25.0 % [20.0, 30.0] of 80",
        "- Sums, untrained, framed: 25.0 % [20.0, 30.0] of 80",
    ]


def test_calculations_and_stories_are_counted_apart():
    problems = load_items("arithmetic", 10)
    asked = {item["id"]: item["question"].startswith("Calculate") for item in problems}
    calculations, stories = ([item for item in asked if asked[item] is written] for written in (True, False))
    assert len(calculations) > 1 and len(stories) > 1  # else this shows nothing
    rows = []
    for arm, tokens, right in [
        ("untrained", None, asked),
        ("floor_echo", None, asked),
        ("prefill", 4, calculations),
        ("prefill", 16, stories),
    ]:
        for item in asked:
            told = arm == "prefill" and item == stories[0]
            rows.append({"task": "arithmetic", "arm": arm, "tokens": tokens, "item": item, "correct": item in right,
                         "prefill_answers": told if arm == "prefill" else None})  # fmt: skip
    rows.append({**rows[0], "task": "other"})
    n, m = len(calculations), len(stories)
    assert markdown_by_wording(pd.DataFrame(rows), ["arm", "tokens"]).splitlines()[2:] == [
        f"| untrained | {n} of {n} | {m} of {m} |",
        f"| prefill, tokens 4 | {n} of {n} | 0 of {m - 1} |",
        f"| prefill, tokens 16 | 0 of {n} | {m - 1} of {m - 1} |",
    ]
