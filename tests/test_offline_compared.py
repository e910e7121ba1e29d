"""T3 by hand on small tables: avg@k with its interval, the change, the tokens, and where the paper's numbers stand."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixture_items import arm_rows, tiny_items
from fixture_offline import SAMPLED, TRAINED, made_up_offline

from analysis import make_all
from analysis.load import NothingToDrawError, Results
from analysis.reasoning_text import markdown_t3
from offmodel import statistics
from offmodel.offline_compared import ARMS, COLUMNS, offline_table
from offmodel.results import score_table, write_results


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 400)


def table_of(**made: Any) -> pd.DataFrame:
    items, curves = made_up_offline(**made)
    return offline_table(items, score_table(items), curves)


def test_avg_at_k_and_the_change_by_hand() -> None:
    rows = []
    for sample, (before, after) in enumerate([("1100", "1110"), ("1000", "1101")]):
        rows += arm_rows("untrained", before, sample=sample)
        rows += arm_rows("offline_dft", after, sample=sample, teacher="small", objective="dft", adapter="lora")
    items = tiny_items(rows)
    untrained, trained = offline_table(items, score_table(items)).to_dict("records")
    assert (untrained["accuracy"], trained["accuracy"]) == pytest.approx((3 / 8, 6 / 8))
    assert trained["samples"] == 2 and trained["n"] == 4
    shares = statistics.mean_share([1, 1, 1 / 2, 1 / 2], runs=2)
    assert (trained["accuracy"], trained["low"], trained["high"]) == pytest.approx(shares)
    change = statistics.paired_difference([1, 1, 0.5, 0.5], [1, 0.5, 0, 0], np.random.default_rng(0))
    assert [trained[name] for name in ("change", "change_low", "change_high")] == pytest.approx(list(change))
    assert (untrained["pass"], trained["pass"]) == (0.5, 1)  # of the last two problems one answer each
    assert [trained["pass_low"], trained["pass_high"]] == pytest.approx(list(statistics.wilson(4, 4)[1:]))
    assert pd.isna(untrained["change"]) and pd.isna(trained["trained_tokens"])


def test_every_arm_has_its_row_in_the_order_of_the_paper_and_its_tokens() -> None:
    table = table_of(seeds=(0, 1), tasks=("gsm8k", "math500"))
    assert list(table.columns) == COLUMNS and table["arm"].to_list() == ARMS * 2
    trained = table[table["arm"] != "untrained"]
    assert (trained["seeds"] == 2).all() and (table["samples"] == 4).all()
    assert set(trained["sampled_tokens"]) == {SAMPLED + 500} and set(trained["trained_tokens"]) == {TRAINED + 500}
    assert table.loc[table["arm"] == "untrained", ["sampled_tokens", "trained_tokens"]].isna().all(axis=None)


def test_arms_that_are_not_there_and_floors_have_no_row() -> None:
    table = table_of(arms=["untrained", "rft"])
    assert table["arm"].to_list() == ["untrained", "rft"]
    items = tiny_items(arm_rows("untrained", "10") + arm_rows("floor_echo", "00"))
    assert offline_table(items, score_table(items))["arm"].to_list() == ["untrained"]


PAPER: dict[str, Any] = {
    "student": "qwen2.5-math-1.5b", "tasks": ["math500"], "n": 500, "samples": 16, "adapter": "full",
}  # fmt: skip


def test_published_numbers_stand_beside_the_same_setting() -> None:
    table = table_of(**PAPER).set_index("arm")
    percent = {"untrained": 31.66, "dpo": 46.89, "rft": 48.23, "grpo": 62.86, "offline_dft": 64.71}
    assert (100 * table["published"]).dropna().to_dict() == pytest.approx(percent | {"offline_iw_sft": 60.80})


@pytest.mark.parametrize("other", [{"student": "qwen2.5-1.5b"}, {"n": 499}, {"samples": 8}, {"tasks": ["gsm8k"]}])
def test_published_numbers_stand_beside_no_other(other: dict[str, Any]) -> None:
    assert table_of(**PAPER | other)["published"].isna().all()


def test_lora_is_not_what_was_published() -> None:
    table = table_of(**PAPER | {"adapter": "lora"}).set_index("arm")
    assert table["published"].notna().to_dict() == {arm: arm == "untrained" for arm in ARMS}


# The table as it is written


def results(**made: Any) -> Results:
    items, curves = made_up_offline(**made)
    return Results(items, score_table(items), curves=curves if len(curves) else None)


def test_the_markdown_by_hand() -> None:
    shown = results(arms=["untrained", "offline_dft"])
    header, rule, untrained, trained, _, legend = markdown_t3(shown).split("\n")
    assert header.endswith("| sampled | trained |") and "published" not in legend
    assert len({line.count("|") for line in (header, rule, untrained, trained)}) == 1
    row = offline_table(shown.items, shown.scores, shown.curves).iloc[1]
    assert trained.startswith(f"| GSM8K, n = 20, k = 4 | small | offline DFT | {100 * row['accuracy']:.1f} [")
    assert f"| {100 * row['change']:+.1f} [" in trained and trained.endswith("| 10 | 50,000 | 20,000 |")
    assert untrained.endswith(" |  | 10 |  |  |")
    assert f" | {100 * row['pass']:.1f} [" in trained and "n problems, 1 seed, 95 %" in legend


def test_published_numbers_are_shown_where_there_are_any() -> None:
    text = markdown_t3(results(**PAPER))
    assert "| offline DFT |" in text and "| 64.71 |" in text and "arXiv 2508.05629" in text.split("\n")[-1]


def test_a_study_without_trained_arms_has_no_table() -> None:
    with pytest.raises(NothingToDrawError, match="own answers"):
        markdown_t3(results(arms=["untrained"]))


def test_it_is_written_beside_the_figures(tmp_path: Path) -> None:
    items, curves = made_up_offline()
    write_results(items, tmp_path / "17_offline_rl")
    curves.to_parquet(tmp_path / "17_offline_rl" / "curves.parquet")
    for only, others in ((None, ["T5.md"]), (["T3"], [])):
        path, *more = make_all.draw(tmp_path, tmp_path / "out", only=only)
        assert path.name == "T3.md" and path.read_text().startswith("| task | student | arm |")
        assert [table.name for table in more] == others
