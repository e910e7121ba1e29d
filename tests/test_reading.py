"""Answers side by side, from invented results whose outcomes and marks can be counted by hand."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fixture_items import arm_rows, tiny_items

from analysis import reading
from analysis.reading import (
    LEGEND,
    adds_nothing,
    choose_items,
    common_answers,
    count_marks,
    count_outcomes,
    read_answers,
    repeats,
    side_by_side,
)
from offmodel.data.arithmetic import items as arithmetic_items
from offmodel.errors import RequestError
from offmodel.results import ARM_KEYS, RUN_KEYS

EXPERIMENT = "01_degradation"
IDS = [row["id"] for row in arithmetic_items(4, 0)]
ROWS = [
    *arm_rows("untrained", "1100"),
    *arm_rows("on_model_sft", "1110", teacher="small"),
    *arm_rows("off_model_sft", "0110", teacher="big"),
    *arm_rows("off_model_sft", "0000", teacher="bigger"),
    *arm_rows("floor_echo", "0000"),
]


def written(folder: Path, rows: list[dict[str, Any]], styled: bool = True, **own: dict[str, Any]) -> Path:
    """Results with these rows on the first arithmetic problems; `own` changes the answers of an arm to the first."""
    named = [
        row | {"task": "arithmetic", "task_title": "Arithmetic", "item": IDS[int(row["item"][1:])]} for row in rows
    ]
    named = [row | (own.get(row["arm"], {}) if row["item"] == IDS[0] else {}) for row in named]
    table = tiny_items([{"response": "It is 7.", "steps": 0, "teacher_probability": 0.2} | row for row in named])
    target = folder / EXPERIMENT
    target.mkdir(parents=True)
    measured = ["response", "steps", "teacher_probability"]
    table.drop(columns=measured).to_parquet(target / "items.parquet")
    table[[*ARM_KEYS, *RUN_KEYS, "task", "item", "response"]].to_parquet(target / "answers.parquet")
    if styled:
        rows_of = [
            table[table["teacher"].isna() | table["teacher"].isin(["small", name])] for name in ("big", "bigger")
        ]
        style = [rows.assign(compared_with=name) for rows, name in zip(rows_of, ("big", "bigger"), strict=True)]
        pd.concat(style).drop(columns="response").to_parquet(target / "style.parquet")
    return folder


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    folders = (tmp_path / str(number) for number in count())
    return lambda **own: read_answers(written(next(folders), ROWS, **own), EXPERIMENT)


def test_one_student_and_one_teacher_are_read(tmp_path: Path) -> None:
    folder = written(tmp_path / "preset", ROWS)
    first = read_answers(folder, EXPERIMENT)
    assert list(first["label"].unique()) == ["untrained", "on-model SFT", "off-model SFT"]
    assert len(first) == 12 and set(first["teacher"].dropna()) == {"small", "big"}
    second = read_answers(folder, EXPERIMENT, teacher="bigger")
    assert set(second["teacher"].dropna()) == {"small", "bigger"}
    assert second["teacher_probability"].notna().all()


def test_one_seed_is_read_beside_the_only_untrained_run(tmp_path: Path) -> None:
    again = [row | {"seed": 1} for row in ROWS if row["arm"] == "off_model_sft"]
    answers = read_answers(written(tmp_path / "preset", [*ROWS, *again]), EXPERIMENT, seed=1)
    assert list(answers["arm"].unique()) == ["untrained", "off_model_sft"]
    assert len(answers) == 8


def test_without_a_style_its_marks_are_left_out(tmp_path: Path) -> None:
    answers = read_answers(written(tmp_path / "preset", ROWS, styled=False), EXPERIMENT)
    assert "teacher probability" not in side_by_side(answers, "arithmetic", IDS)


@pytest.mark.parametrize(
    ("rows", "asked", "message"),
    [
        (ROWS, {"teacher": "bgi"}, "did you mean 'big'"),
        (ROWS, {"student": "large"}, "unknown untrained student 'large'"),
        (ROWS, {"seed": 3}, "unknown seed '3'"),
        (ROWS[4:], {}, "no untrained student"),
        (ROWS[:8], {}, "no teacher"),
        (
            [*ROWS, *arm_rows("off_model_sft", "0000", teacher="big", adapter="lora")],
            {},
            "off_model_sft answered a problem several times",
        ),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, rows: list[dict[str, Any]], asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        read_answers(written(tmp_path / "preset", rows), EXPERIMENT, **asked)


def test_results_without_answers_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "preset", ROWS)
    (folder / EXPERIMENT / "answers.parquet").unlink()
    with pytest.raises(RequestError, match=r"no .*answers.parquet"):
        read_answers(folder, EXPERIMENT)


def test_outcomes_are_counted(made: Callable[..., pd.DataFrame]) -> None:
    counts = count_outcomes(made())
    rows = dict(zip(counts.index, counts.to_numpy().tolist(), strict=True))
    assert counts.columns.tolist() == ["kept", "lost", "gained", "never"]
    assert rows["Arithmetic", "on-model SFT"] == [2, 0, 1, 1]
    assert rows["Arithmetic", "off-model SFT"] == [1, 1, 1, 1]


def test_items_are_chosen_by_outcome_in_the_order_of_the_draw(made: Callable[..., pd.DataFrame]) -> None:
    answers = made()
    assert choose_items(answers, "arithmetic", "lost", 5) == [IDS[0]]
    assert choose_items(answers, "arithmetic", "kept", 5, arm="on_model_sft") == IDS[:2]
    assert choose_items(answers, "arithmetic", "kept", 1, arm="on_model_sft") == IDS[:1]
    with pytest.raises(RequestError, match="no answers of arm 'rl'"):
        choose_items(answers, "arithmetic", "lost", 5, arm="rl")


def test_the_table_shows_problem_answers_and_marks(made: Callable[..., pd.DataFrame]) -> None:
    foreign = {"response": "2 * 5. Work it out, and end your reply", "response_tokens": 20, "teacher_probability": 0.9}
    answers = made(untrained={"steps": 1}, off_model_sft=foreign | {"truncated": True, "answered": False})
    page = side_by_side(answers, "arithmetic", IDS[:1])
    assert "<code>Calculate 2 * 5.<br><br>Work it out, and end your reply with the number that is the answer." in page
    assert "Right: <code>10</code>" in page
    assert "right · 10 tokens · teacher probability 0.20 · in steps</td>" in page
    assert "right · 10 tokens · teacher probability 0.20 · <b>no longer: in steps</b></td>" in page
    assert (
        "<b>wrong</b> · <b>20 tokens</b> · <b>teacher probability 0.90</b> · <b>repeats the problem</b> · "
        "<b>adds nothing</b> · <b>no longer: in steps</b> · <b>cut</b> · <b>no answer found</b></td>"
    ) in page
    assert page.count("<th") == page.count("<code>It is 7.") + 1 == 3
    assert "Bold:" in LEGEND


def test_marks_are_counted(made: Callable[..., pd.DataFrame]) -> None:
    foreign = {"response": "2 * 5. Work it out, and end your reply", "response_tokens": 20, "truncated": True}
    counts = count_marks(made(untrained={"steps": 1}, off_model_sft=foreign))
    rows = dict(zip(counts.index, counts.to_numpy().tolist(), strict=True))
    assert counts.columns.tolist() == [
        "tokens",
        "repeats the problem",
        "adds nothing",
        "in steps",
        "cut",
        "no answer found",
    ]
    assert rows["Arithmetic", "untrained"] == [10, 0, 0, 25, 0, 0]
    assert rows["Arithmetic", "off-model SFT"] == [12.5, 25, 25, 0, 25, 0]


def test_common_answers_are_counted_and_escaped(made: Callable[..., pd.DataFrame]) -> None:
    answers = made(off_model_sft={"response": "Once."})
    page = common_answers(answers, "arithmetic")
    assert page.count("4 of 4") == 2 and page.count("3 of 4") == 1 and "Once." not in page
    every = common_answers(answers.assign(response=[f"<b>{number}" for number in range(12)]), "arithmetic")
    assert every.count("no answer twice") == 3
    assert "&lt;b&gt;" in common_answers(answers.assign(response="<b>"), "arithmetic")


def test_model_text_cannot_act_on_the_page(made: Callable[..., pd.DataFrame]) -> None:
    harm = "<script>alert(1)</script> & $\\href{javascript:alert(1)}{x}$\n</code>\u202egnp.exe\x1b[31m"
    page = side_by_side(made(off_model_sft={"response": harm}), "arithmetic", IDS[:1])
    shown = (
        "<code>&lt;script&gt;alert(1)&lt;/script&gt; &amp; $\\href{javascript:alert(1)}{x}$<br>&lt;/code&gt;"
        "\N{REPLACEMENT CHARACTER}gnp.exe\N{REPLACEMENT CHARACTER}[31m</code>"
    )
    assert shown in page


def test_long_and_empty_answers(made: Callable[..., pd.DataFrame]) -> None:
    page = side_by_side(
        made(untrained={"response": ""}, on_model_sft={"response": "a<" * 50}), "arithmetic", IDS[:1], 9
    )
    assert "<code>a&lt;a&lt;a&lt;a&lt;a</code> <i>… 91 characters more</i>" in page
    assert "<i>(empty)</i>" in page


def test_an_unknown_item_is_refused(made: Callable[..., pd.DataFrame]) -> None:
    with pytest.raises(RequestError, match="no answers to item 'i9'"):
        side_by_side(made(), "arithmetic", ["i9"])


def test_a_public_benchmark_that_is_not_at_hand_is_named(
    made: Callable[..., pd.DataFrame], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OFFMODEL_DATA", str(tmp_path))  # an empty mirror; the hub is not asked then
    reading._problems.cache_clear()
    page = side_by_side(made().assign(task="gsm8k", item="gsm8k-1", drawn=1), "gsm8k", ["gsm8k-1"])
    reading._problems.cache_clear()
    assert (
        "<b>gsm8k-1</b>: the problem's text is not here; name a folder with gsm8k in <code>$OFFMODEL_DATA</code>."
        in page
    )
    assert "It is 7." in page


@pytest.mark.parametrize("task", ["instructions", "knowledge", "arithmetic"])
def test_the_prompt_is_the_one_that_models_are_given(task: str) -> None:
    pytest.importorskip("lm_eval")
    from offmodel.evaluation.registry import build_task

    built: Any = build_task(task, 20)
    shown = reading._problems(task, 20)
    for row in built.test_docs():
        assert shown[row["id"]][0] == built.doc_to_text(row)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("zoe has 3 RED cards, and?", False),  # six words
        ("zoe has 3 RED cards, and 6?", True),
        ("So: Zoe has 3 red cards and 6 others.", True),
        ("cards red and cards blue", False),
        ("", False),
    ],
)
def test_what_counts_as_repeating_the_problem(answer: str, expected: bool) -> None:
    assert repeats("Zoe has 3 red cards and 6 blue cards.", answer) is expected


def test_what_counts_as_adding_nothing() -> None:
    problem = "Zoe has 3 red cards and 6 blue cards. How many cards does Zoe have in total?"
    assert adds_nothing(problem, "How many cards does Zoe have in total? 3.")
    assert not adds_nothing(problem, "3 cards")  # a wrong answer, but an answer
    assert adds_nothing(problem, "Zoe has 3 red cards and 6 blue cards, 9.")  # one word in ten is new
    assert not adds_nothing(problem, "Zoe has 3 red cards and 6 blue, 9.")  # one in nine
    assert not adds_nothing(problem, "")


def test_a_part_of_the_answers_keeps_its_problems(made: Callable[..., pd.DataFrame]) -> None:
    answers = made()
    last = answers[answers["item"] == IDS[-1]]
    assert "the problem's text is not here" not in side_by_side(last, "arithmetic", IDS[-1:])
