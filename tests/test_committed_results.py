"""The committed results keep the contract, and their figures are the ones that are committed."""

import json
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.testing.compare import compare_images

from analysis.figures import FIGURES
from analysis.make_all import OUT, OVERVIEWS, TABLES, draw
from analysis.models_table import markdown_models
from offmodel.data import arithmetic
from offmodel.evaluation.answers import last_number
from offmodel.paths import RESULTS
from offmodel.results import score_table

PRESETS = sorted(folder for folder in RESULTS.glob("*") if folder.is_dir())
EXPERIMENTS = sorted(path.parent for path in RESULTS.glob("*/*/items.parquet"))


def name_of(folder: Path) -> str:
    return folder.relative_to(RESULTS).as_posix()


def test_there_are_results() -> None:
    assert "pocket/01_degradation" in [name_of(folder) for folder in EXPERIMENTS]


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=name_of)
def test_scores_follow_from_the_items(folder: Path) -> None:
    recomputed = score_table(pd.read_parquet(folder / "items.parquet"))
    committed = pd.read_csv(folder / "scores.csv")
    pd.testing.assert_frame_equal(recomputed, committed, check_dtype=False, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=name_of)
def test_results_say_how_they_were_made(folder: Path) -> None:
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["command"].startswith(f"python experiments/{folder.name}.py")
    for environment in provenance["environments"]:
        git = environment["git"]
        assert git["commit"] and not git["diff"] and not git.get("new_files"), "made from what is in no commit"
    used = set(pd.read_parquet(folder / "items.parquet")["scores_id"])
    artefacts = provenance["artefacts"]
    assert used <= set(artefacts)
    assert {parent for made in artefacts.values() for parent in made["parents"]} <= set(artefacts)


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=name_of)
def test_every_answer_is_kept(folder: Path) -> None:
    keys = ["arm", "student", "teacher", "seed", "task", "item"]
    items, answers = (pd.read_parquet(folder / f"{name}.parquet") for name in ("items", "answers"))
    pd.testing.assert_frame_equal(items[keys], answers[keys])
    assert answers["response"].notna().all()


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=name_of)
def test_numbers_are_judged_as_they_were(folder: Path) -> None:
    """A change of `answers.last_number` that is seen here changes committed scores: bump `registry.SCORERS`."""
    answers = pd.read_parquet(folder / "answers.parquet")
    right = {item["id"]: Fraction(item["answer"]) for item in arithmetic.items(arithmetic.MAX_ITEMS, 0)}
    judged = pd.read_parquet(folder / "items.parquet")["correct"][answers["task"] == "arithmetic"]
    sums = answers[answers["task"] == "arithmetic"]
    again = [last_number(text) == right[item] for text, item in zip(sums["response"], sums["item"], strict=True)]
    assert judged.tolist() == again


@pytest.mark.parametrize("folder", PRESETS, ids=name_of)
def test_committed_figures_are_drawn_from_committed_results(folder: Path, tmp_path: Path) -> None:
    drawn = {path.name: path for path in draw(folder, tmp_path)}
    committed = {path.name for path in (OUT / folder.name).iterdir()}
    assert drawn and set(drawn) == committed
    assert {Path(name).stem for name in drawn} <= {*FIGURES, *TABLES, *OVERVIEWS}
    for name in drawn:
        if name.endswith(".md"):
            written, now = (path.read_text(encoding="utf-8") for path in (OUT / folder.name / name, drawn[name]))
            assert written == now, "`make figures` writes it again"
        if name.endswith(".png"):
            difference = compare_images(str(OUT / folder.name / name), str(drawn[name]), tol=1)
            assert difference is None, f"{difference}; `make figures` draws it again"


def test_the_table_of_models_is_up_to_date() -> None:
    assert (OUT / "T1.md").read_text(encoding="utf-8") == f"{markdown_models()}\n", "`make figures` writes it again"
