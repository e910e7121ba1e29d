"""One arm against another in words: DFT against SFT by hand, over several experiments."""

from pathlib import Path

import pandas as pd
import pytest
from fixture_items import arm_rows, tiny_items
from test_math_training import by_hand

from analysis.load import NothingToDrawError
from analysis.make_all import draw
from analysis.versus_text import markdown_t5
from offmodel import statistics
from offmodel.results import write_results

# Each arm's correctness on four sums, by experiment; those of 18 at a rate of 1e-3 are the trainings of 01.
TAUGHT = {
    "01_degradation": [("off_model_sft", None, "1000"), ("off_model_dft", None, "1100")],
    "18_objectives": [
        ("off_model_sft", 1e-4, "1111"), ("off_model_dft", 1e-4, "1110"),
        ("off_model_sft", 1e-3, "1000"), ("off_model_dft", 1e-3, "1100"),
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 400)


def taught(experiment: str, untrained: str = "1110") -> pd.DataFrame:
    rows = arm_rows("untrained", untrained, experiment=experiment, learning_rate=None)
    rows += arm_rows("floor_constant", "0000", experiment=experiment, learning_rate=None)
    for arm, rate, correct in TAUGHT[experiment]:
        rows += arm_rows(arm, correct, experiment=experiment, teacher="big", learning_rate=rate)
    items = tiny_items(rows)
    return items if experiment.startswith("18") else items.drop(columns="learning_rate")


def cells(text: str) -> list[list[str]]:
    return [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")][1:]


def test_t5_puts_dft_beside_sft_wherever_both_were_tried(tmp_path: Path):
    write_results(by_hand(grid_too=False), tmp_path / "16_dft")
    for experiment in TAUGHT:
        write_results(taught(experiment), tmp_path / experiment)
    (path,) = draw(tmp_path, tmp_path / "figures", ["T5"])
    text = path.read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in row] for row in cells(text)]
    # Solutions: step 4 alone, two of two answers. Chat answers: two rates, of which 1e-3 is what 01 shows too.
    assert [row[:4] for row in rows] == [
        ["solutions", "small", "Sums", "step 4"],
        ["solutions", "small", "Squares", "step 4"],
        ["chat answers of big", "small", "Sums", "rate 0.0001"],
        ["chat answers of big", "small", "Sums", "rate 0.001"],
    ]
    assert [row[4:7] for row in rows] == [
        ["25.0", "25.0", "75.0"],
        ["50.0", "25.0", "50.0"],
        ["~ 75.0", "100.0", "~ 75.0"],  # three of four above none: 0.5 ± 0.61 by adjusted Wald; four: 0.67 ± 0.60
        ["~ 75.0", "~ 25.0", "~ 50.0"],
    ]
    assert [row[7].split()[0] for row in rows] == ["+50.0", "+25.0", "-25.0", "+25.0"]
    # Both answers to two more sums are right; of the squares one answer more. Chat answers have but one try.
    assert [row[9].split(" ")[0] for row in rows] == ["+50.0", "+50.0", "", ""]
    assert rows[0][8] == "0.500" and "**" not in text


def test_what_is_left_after_holm_is_bold(tmp_path: Path):
    rows = arm_rows("untrained", "1" * 40, experiment="16_dft")
    rows += arm_rows("sft", "0" * 40, experiment="16_dft") + arm_rows("dft", "1" * 40, experiment="16_dft")
    write_results(tiny_items(rows), tmp_path / "16_dft")
    (row,) = cells(markdown_t5(tmp_path))
    assert row[3:7] == [" the preset's ", " 100.0 ", " 0.0 ", " 100.0 "]
    assert row[8] == " **<0.001** " and row[9:11] == ["  ", "  "]


def test_t5_where_nothing_was_learned_with_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert draw(tmp_path, tmp_path / "figures", ["T5"]) == []
    items = by_hand(grid_too=False)
    write_results(items[items["arm"] != "dft"], tmp_path / "16_dft")
    with pytest.raises(NothingToDrawError, match="nothing was learned with both DFT and SFT"):
        markdown_t5(tmp_path)
    assert draw(tmp_path, tmp_path / "figures", ["T5"]) == []
    assert "T5 not drawn" in capsys.readouterr().err
