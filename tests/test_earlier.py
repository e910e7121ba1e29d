"""Seeds added to published results: what is there is taken as it is, and only where it is of the same study."""

import json
import runpy
import shutil
from pathlib import Path

import pandas as pd
import pytest

from offmodel.cells import Measurement, collect_arms, measurements, requested_tasks
from offmodel.collect import collect
from offmodel.earlier import Earlier
from offmodel.errors import RequestError
from offmodel.paths import RESULTS, ROOT
from offmodel.presets import Preset, load_preset
from offmodel.store import Store
from offmodel.study import Experiment

PUBLISHED = RESULTS / "pocket" / "01_degradation"


EXPERIMENT: Experiment = runpy.run_path(str(ROOT / "experiments" / "01_degradation.py"))["arms"]


def cells_of(preset: Preset, seeds: list[int]) -> list[Measurement]:
    arms = collect_arms(EXPERIMENT, preset, seeds, None, None)
    return measurements(arms, requested_tasks(preset, None, None, None), preset.reading)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PUBLISHED, tmp_path / "01_degradation"))


def test_what_is_published_comes_back_as_it_was(tmp_path: Path) -> None:
    earlier = Earlier.read(PUBLISHED, [1])
    assert earlier.seeds == [0]
    cells = cells_of(load_preset("pocket"), [0, 1])
    earlier.check(cells)
    rest = [cell for cell in cells if cell.scores.id not in earlier.scores]
    # Neither the untrained student nor a floor is made again for another seed.
    assert {cell.arm.seed for cell in rest} == {1}
    assert {cell.arm.name for cell in rest} == {"on_model_sft", "off_model_sft", "off_model_dft"}
    items = collect(EXPERIMENT, cells, Store(tmp_path), earlier.scores)
    before = pd.read_parquet(PUBLISHED / "items.parquet")
    keys = ["arm", "task", "item"]
    items[list(before.columns)].to_parquet(tmp_path / "items.parquet", index=False)
    again = pd.read_parquet(tmp_path / "items.parquet").sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(again, before.sort_values(keys, ignore_index=True))
    style = pd.read_parquet(PUBLISHED / "style.parquet").set_index(keys)["home_logprob"].dropna()
    assert items.set_index(keys)["home_logprob"].dropna().to_dict() == style.to_dict()
    assert items.loc[items["arm"] == "untrained", "response"].str.len().gt(0).all()


def test_results_of_another_preset_are_not_added_to() -> None:
    pocket = load_preset("pocket")
    gentler = pocket.model_copy(update={"sft": pocket.sft.model_copy(update={"learning_rate": 5e-4})})
    with pytest.raises(RequestError, match=r"has no smollm2-135m\.sft-.*leave out --seeds to make all seeds anew"):
        Earlier.read(PUBLISHED, [1]).check(cells_of(gentler, [0, 1]))


def test_a_seed_is_not_there_twice() -> None:
    with pytest.raises(RequestError, match=r"seed 0 is in .* already"):
        Earlier.read(PUBLISHED, [1, 0])


def test_nothing_to_add_to(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nothing is there: leave out --seeds"):
        Earlier.read(tmp_path, [1])


def test_results_that_cannot_be_read(copy: Path) -> None:
    (copy / "answers.parquet").write_bytes(b"half")
    with pytest.raises(RequestError, match=r"cannot read .*leave out --seeds to make it again"):
        Earlier.read(copy, [1])


def test_tables_are_gone_on_with(copy: Path) -> None:
    earlier = Earlier.read(copy, [1])
    curves = pd.read_parquet(copy / "curves.parquet")
    both = earlier.with_its_own(curves.assign(seed=1), "curves")
    assert both["seed"].tolist() == [0] * len(curves) + [1] * len(curves)
    assert earlier.with_its_own(curves, "likelihoods") is curves  # none are published


def test_provenance_of_both(copy: Path) -> None:
    published = json.loads((copy / "provenance.json").read_text())
    known, new = published["environments"][0], {"git": "another"}
    there = next(iter(published["artefacts"]))
    told = {
        "artefacts": {"a": {"environment": 0}, "b": {"environment": 1}, there: {"environment": 0}},
        "environments": [new, known],
    }
    both = Earlier.read(copy, [1]).with_its_provenance(told)
    assert both["environments"] == [*published["environments"], new]
    assert both["artefacts"]["a"] == {"environment": len(published["environments"])}
    assert both["artefacts"]["b"] == {"environment": 0}
    assert both["artefacts"][there] == published["artefacts"][there]
