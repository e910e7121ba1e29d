"""Seeds added to published results: what is there is taken as it is, and only where it is of the same study."""

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from offmodel import cli
from offmodel.cells import Measurement, collect_arms, collect_readings, measurements, requested_tasks, wanted
from offmodel.collect import collect
from offmodel.earlier import Earlier
from offmodel.errors import RequestError
from offmodel.paths import RESULTS, ROOT
from offmodel.plan import Plan, make_plan
from offmodel.presets import Preset, load_preset
from offmodel.recipes import Completions, Likelihood, Recipe, Scores, Trained
from offmodel.results import ARM_KEYS
from offmodel.runner import Report
from offmodel.settings import Settings
from offmodel.store import Store
from offmodel.study import Experiment

POCKET = RESULTS / "pocket"
NOTHING = Plan([])


def experiment_of(name: str) -> Experiment:
    return runpy.run_path(str(ROOT / "experiments" / f"{name}.py"))["arms"]


def cells_of(experiment: Experiment, preset: Preset, seeds: list[int]) -> list[Measurement]:
    arms = collect_arms(experiment, preset, seeds, None, None)
    return measurements(arms, requested_tasks(preset, None, None, None, experiment.tasks), preset.reading)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(POCKET / "01_degradation", tmp_path / "pocket" / "01_degradation"))


@pytest.mark.parametrize("name", sorted(folder.name for folder in POCKET.iterdir()))
def test_what_is_published_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    experiment, preset = experiment_of(name), load_preset("pocket")
    earlier = Earlier.read(POCKET / name)
    assert earlier.seeds == [0]
    cells = cells_of(experiment, preset, [0, 1])
    earlier.check(cells, NOTHING)
    assert all(map(earlier.has, [one.likelihood for one in collect_readings(experiment, preset, [0], None)]))
    # Neither the untrained student nor a floor is made again for another seed.
    rest = [cell for cell in cells if cell.scores.id not in earlier.scores]
    assert {cell.arm.seed for cell in rest} == {1}
    assert not [cell for cell in rest if cell.arm.name.startswith(("untrained", "floor")) and not cell.arm.parameters]
    items = collect(experiment, cells, Store(tmp_path), earlier.scores)
    before = pd.read_parquet(POCKET / name / "items.parquet")
    columns = list(before.columns)
    items[columns].to_parquet(tmp_path / "items.parquet", index=False)
    order = [*columns[-2:], *(column for column in columns if column in ("arm", "seed", "item", "sample", "tokens"))]
    again = pd.read_parquet(tmp_path / "items.parquet").sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(again, before.sort_values(order, ignore_index=True), check_dtype=False)
    assert items.loc[items["kind"] == "generate", "response"].notna().all()


def test_how_likely_answers_are_comes_back_too(tmp_path: Path) -> None:
    earlier = Earlier.read(POCKET / "01_degradation")
    keys = ["scores_id", "item"]
    experiment = experiment_of("01_degradation")
    items = collect(experiment, cells_of(experiment, load_preset("pocket"), [0]), Store(tmp_path), earlier.scores)
    style = pd.read_parquet(POCKET / "01_degradation" / "style.parquet").set_index(keys)["home_logprob"].dropna()
    assert items.set_index(keys)["home_logprob"].dropna().to_dict() == style.to_dict()


def test_results_of_another_preset_are_not_added_to() -> None:
    earlier, experiment = Earlier.read(POCKET / "01_degradation"), experiment_of("01_degradation")
    pocket = load_preset("pocket")
    other = [
        pocket.model_copy(update={"sft": pocket.sft.model_copy(update={"learning_rate": 5e-4})}),
        pocket.model_copy(update={"tasks": {"arithmetic": pocket.tasks["arithmetic"]}}),
        pocket.model_copy(update={"reading": pocket.reading.model_copy(update={"n": 7})}),  # type: ignore[union-attr]
    ]
    for preset in other:
        with pytest.raises(RequestError, match=r"01_degradation is of another preset.*make them together"):
            earlier.check(cells_of(experiment, preset, [0]), NOTHING)


def test_a_prefill_from_published_answers_is_refused(tmp_path: Path) -> None:
    # Made again they could be other answers than those that stand beside it.
    experiment, preset = experiment_of("07_prefill"), load_preset("pocket")
    earlier = Earlier.read(POCKET / "07_prefill")
    cells = cells_of(experiment, preset, [0, 1])
    plan = make_plan(wanted([cell for cell in cells if cell.scores.id not in earlier.scores], []), Store(tmp_path))
    with pytest.raises(RequestError, match=r"what is to be added needs smollm2-135m\..*which is published"):
        earlier.check(cells, plan)


def test_nothing_to_add_to(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nothing is there: name all seeds in the preset"):
        Earlier.read(tmp_path)


def test_a_task_may_have_fewer_seeds(tmp_path: Path) -> None:
    pocket = load_preset("pocket")
    fewer = {**pocket.tasks, "arithmetic": pocket.tasks["arithmetic"].model_copy(update={"seeds": [1]})}
    cells = cells_of(experiment_of("01_degradation"), pocket.model_copy(update={"tasks": fewer}), [0, 1])
    trained = {(cell.task.task.name, cell.arm.seed) for cell in cells if cell.arm.name == "on_model_sft"}
    assert trained == {("instructions", 0), ("instructions", 1), ("knowledge", 0), ("knowledge", 1), ("arithmetic", 1)}
    # The untrained student, scored once for all seeds, is there to compare with, and so is the floor.
    others = {cell.arm.name for cell in cells if cell.task.task.name == "arithmetic" and cell.arm.seed == 0}
    assert others == {"untrained", "floor_echo", "floor_constant", "floor_shuffled"}
    begun = cells_of(experiment_of("07_prefill"), pocket.model_copy(update={"tasks": fewer}), [0, 1])
    reversed_ = {cell.arm.seed for cell in begun if cell.arm.name == "prefill_reversed" and cell.task.seeds}
    assert reversed_ == {1}  # an untrained student that goes on from a trained one's beginning is of that one's seed
    no_seed_of_it = cells_of(experiment_of("01_degradation"), pocket.model_copy(update={"tasks": fewer}), [0])
    assert "arithmetic" not in {cell.task.task.name for cell in no_seed_of_it}


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("items.parquet", b"half", "cannot read"),
        ("answers.parquet", b"half", "cannot read"),
        ("provenance.json", b"{}", "provenance.json lists no artefacts"),
    ],
)
def test_results_that_cannot_be_read(copy: Path, file: str, content: bytes, said: str) -> None:
    (copy / file).write_bytes(content)
    with pytest.raises(RequestError, match=f"{said}.*delete it and make all seeds again"):
        Earlier.read(copy)


def test_items_without_answers(copy: Path) -> None:
    answers = pd.read_parquet(copy / "answers.parquet")
    answers[:-3].to_parquet(copy / "answers.parquet", index=False)
    with pytest.raises(RequestError, match="lacks the answer of arm floor_shuffled to arithmetic-0-3-020"):
        Earlier.read(copy)


def test_provenance_of_both(copy: Path) -> None:
    published = json.loads((copy / "provenance.json").read_text())
    known, new = published["environments"][0], {"git": "another"}
    there = next(iter(published["artefacts"]))
    told = {
        "command": "this",
        "artefacts": {"a": {"environment": 0}, "b": {"environment": 1}, there: {"environment": 0}},
        "environments": [new, known],
    }
    both = Earlier.read(copy).with_its_provenance(told)
    assert (both["command"], both["added_to"]["command"]) == ("this", published["command"])
    assert "artefacts" not in both["added_to"]
    assert both["environments"] == [*published["environments"], new]
    assert both["artefacts"]["a"] == {"environment": len(published["environments"])}
    assert both["artefacts"]["b"] == {"environment": 0}
    assert both["artefacts"][there] == published["artefacts"][there]


def made_up(recipe: Recipe, published: Path, out: Path) -> None:
    """An artefact as another seed might give it: the untrained student's answers in another order, say."""
    items = pd.read_parquet(published / "items.parquet")
    if isinstance(recipe, Scores):
        rows = items[(items["task"] == recipe.task.name) & (items["arm"] == "untrained")]
        columns = ["item", "level", "subject", "correct", "answered", "response_tokens", "truncated", "sample"]
        rows[columns].assign(correct=False, response="none of it").to_parquet(out / "items.parquet", index=False)
    elif isinstance(recipe, Completions):
        said = "Of course, step by step" if recipe.teacher == "smollm2-135m" else "It is"
        keys = [f"chat-{i}" for i in range(40)]
        table = {"prompt_id": keys, "answer": [f"{said} {i}" for i in range(40)]}
        pd.DataFrame(table).to_parquet(out / "completions.parquet", index=False)
    elif isinstance(recipe, Likelihood):
        keys = items.loc[items["task"] == "arithmetic", "item"].unique()[:3]
        pd.DataFrame({"key": keys, "logprobs": [np.array([-1.0, -2.0])] * 3}).to_parquet(out / "tokens.parquet")
    elif isinstance(recipe, Trained):
        curves = pd.read_parquet(published / "curves.parquet")
        curves[[name for name in curves if name not in (*ARM_KEYS, "seed")]][:2].to_parquet(out / "training.parquet")
    else:
        (out / "weights").write_text("none")


@pytest.fixture
def run_script(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command line of 01 with `copy` as what is published, and artefacts that are made up."""

    def make(plan: Plan, settings: Settings, executor: Any) -> Report:
        store = Store(settings.runs)
        for recipe in [step.recipe for step in plan.missing]:
            store.make(recipe, lambda out, _, one=recipe: made_up(one, copy, out), lambda: {"made": "up"})
        return Report(made=[step.recipe.id for step in plan.missing])

    def script(*arguments: str) -> int:
        runs = copy.parents[1] / "runs"
        with pytest.raises(SystemExit) as ended:
            cli.main(experiment_of("01_degradation"), [*arguments, "--runs", str(runs)])
        return int(ended.value.code or 0)

    monkeypatch.setattr(cli, "run", make)
    monkeypatch.setattr("offmodel.request.RESULTS", copy.parents[1])
    return script


def test_a_seed_is_added(run_script: Callable[..., int], copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="style is measured with it")
    before = {path.stem: pd.read_parquet(path) for path in copy.glob("*.parquet")}
    (copy / "likelihoods.parquet").write_bytes((copy / "curves.parquet").read_bytes())  # of no use to 01, and kept
    assert run_script("--seeds", "3", "--publish") == 0
    printed = capsys.readouterr().out
    assert f"published: {copy}" in printed and "\nsmollm2-135m.arithmetic100-" not in printed  # the untrained student
    items = pd.read_parquet(copy / "items.parquet")
    assert items.groupby("arm")["seed"].unique().map(sorted).to_dict() == {
        **{arm: [0] for arm in ("untrained", "floor_echo", "floor_constant", "floor_shuffled")},
        **{arm: [0, 3] for arm in ("on_model_sft", "off_model_sft", "off_model_dft")},
    }
    old = items[items["seed"] == 0].reset_index(drop=True)[list(before["items"].columns)]
    pd.testing.assert_frame_equal(old, before["items"], check_dtype=False)
    scores = pd.read_csv(copy / "scores.csv").set_index(["task", "arm"])
    earlier = before["items"].groupby(["task", "arm"])["correct"].mean()
    assert scores.loc[("arithmetic", "on_model_sft"), "accuracy"] == earlier["arithmetic", "on_model_sft"] / 2
    assert scores.loc[("arithmetic", "on_model_sft"), "seeds"] == 2
    style = pd.read_parquet(copy / "style.parquet")
    assert set(style["seed"]) == {0, 3} and style.loc[style["seed"] == 3, "home_logprob"].dropna().eq(-1.5).all()
    assert (copy / "likelihoods.parquet").is_file()
    curves = pd.read_parquet(copy / "curves.parquet")
    assert curves.groupby("seed").size().to_dict() == {0: len(before["curves"]), 3: 3 * 2}
    told = json.loads((copy / "provenance.json").read_text())
    assert told["seeds"] == [0, 3] and told["command"].endswith("--preset pocket --seeds 3")
    assert run_script("--seeds", "3", "--publish") == 0
    assert "all artefacts were there" in capsys.readouterr().out
    assert json.loads((copy / "provenance.json").read_text()) == told  # nothing was added
    pd.testing.assert_frame_equal(pd.read_parquet(copy / "items.parquet"), items)
    pd.testing.assert_frame_equal(pd.read_parquet(copy / "curves.parquet"), curves)
    (copy / "style.parquet").unlink()  # style is not measured of every study, and then nothing at all is to be made
    assert run_script("--seeds", "3", "--publish") == 0
    pd.testing.assert_frame_equal(pd.read_parquet(copy / "items.parquet"), items)
    assert run_script("--publish") == 2
    assert "has seeds [3] too, which would be lost: name all seeds in the preset" in capsys.readouterr().err
