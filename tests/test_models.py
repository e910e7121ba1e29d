"""The registry of models and the presets: valid as they stand, without loading any model."""

import re
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from test_sources import write_mirror

from offmodel.cells import collect_arms, collect_readings, measurements, requested_tasks, wanted
from offmodel.engines.provider import ApiModel
from offmodel.errors import RequestError
from offmodel.evaluation.registry import resolve_task
from offmodel.memory import memory_bytes
from offmodel.models import MODELS, model
from offmodel.paths import PRESETS, ROOT
from offmodel.plan import make_plan
from offmodel.presets import load_preset
from offmodel.recipes import Base, Trained
from offmodel.settings import Running
from offmodel.store import Store
from offmodel.study import Experiment, Study
from offmodel.values import Decoding
from offmodel.weights.checkpoints import HubCheckpoint
from offmodel.weights.hub import HubGguf
from offmodel.weights.packages import PackagedGguf

EXPERIMENT: Experiment = runpy.run_path(str(ROOT / "experiments" / "01_degradation.py"))["arms"]
SCRIPTS = sorted((ROOT / "experiments").glob("[0-9]*.py"))
NAMES = sorted(path.stem for path in PRESETS.glob("*.toml"))


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Invented prompts and problems in the place of the public ones, as many as the largest preset asks for."""
    folder = tmp_path_factory.mktemp("mirror")
    rows = [
        {"instruction": f"Name a town that begins with letter {i}.", "input": "", "output": ""} for i in range(4000)
    ]
    write_mirror(folder, "alpaca", rows)
    for benchmark in ("gsm8k", "math500", "olympiads"):  # nothing is left out
        write_mirror(folder, benchmark, [])
    sums = [{"question": f"{i} + 1?", "answer": f"It is {i + 1}.\n#### {i + 1}"} for i in range(7000)]
    write_mirror(folder, "gsm8k_train", sums)
    proofs = [{"problem": f"{i} * 2?", "solution": f"$\\boxed{{{2 * i}}}$", "source": "cn_k12"} for i in range(100_000)]
    write_mirror(folder, "numinamath", proofs)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_can_be_planned(name: str, mirror: Path, tmp_path: Path) -> None:
    preset = load_preset(name)
    arms = collect_arms(EXPERIMENT, preset, preset.seeds, mirror, None)
    cells = measurements(arms, requested_tasks(preset, ["arithmetic"], None, mirror))
    plan = make_plan([cell.scores for cell in cells], Store(tmp_path))
    bases = {step.recipe.alias for step in plan.steps if isinstance(step.recipe, Base)}
    assert bases == {*preset.students, *preset.teachers}
    assert "GB of memory" in plan.describe(Running())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_script_can_be_planned_with_every_preset(script: Path, name: str, mirror: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="needs the extra `rl`")
    preset, experiment = load_preset(name), runpy.run_path(str(script))["arms"]
    seeds = preset.seeds[:1]  # the others differ in nothing else
    arms = collect_arms(experiment, preset, seeds, mirror, None)
    on_maths = "reasoning_students" in script.read_text()
    assert {arm.model.student for arm in arms} <= set((on_maths and preset.reasoning.students) or preset.students)
    (task,) = requested_tasks(preset, ["arithmetic"], None, mirror)
    cells = measurements(arms, [replace(task, decoding=Decoding(temperature=0, max_tokens=2048))])
    plan = make_plan(wanted(cells, collect_readings(experiment, preset, seeds, mirror)), Store(tmp_path))
    assert plan.missing == plan.steps
    assert {arm.model.id for arm in arms} & {step.recipe.id for step in plan.steps}


def test_the_presets_grow() -> None:
    sizes = [max(MODELS[alias].parameters for alias in load_preset(name).students) for name in
             ("pocket", "desk", "workstation", "paper")]  # fmt: skip
    assert sizes == sorted(set(sizes))


def test_workstation_has_three_families_and_all_of_it_fits_one_card() -> None:
    preset = load_preset("workstation")
    cards = [MODELS[alias] for alias in {*preset.students, *preset.teachers}]
    assert len({card.family for card in cards}) >= 3
    assert all(card.memory_bytes < 24e9 for card in cards)


def test_the_trainings_of_workstation_fit_one_card(mirror: Path) -> None:
    preset = load_preset("workstation")
    trained = [arm.model for arm in collect_arms(EXPERIMENT, preset, [0], mirror, ["off_model_sft"])]
    needed = {one.student: memory_bytes(one, preset.run) for one in trained if isinstance(one, Trained)}
    assert set(needed) == set(preset.students) and all(9e9 < bytes_ < 24e9 for bytes_ in needed.values())


def test_the_trainings_of_paper_fit_one_card(mirror: Path) -> None:
    preset = load_preset("paper")
    trained = [arm.model for arm in collect_arms(EXPERIMENT, preset, [0], mirror, ["off_model_sft"])]
    needed = {one.student: memory_bytes(one, preset.run) for one in trained if isinstance(one, Trained)}
    assert set(needed) == set(preset.students) and all(20e9 < bytes_ < 80e9 for bytes_ in needed.values())


def test_memory_by_hand(mirror: Path) -> None:
    arms = collect_arms(EXPERIMENT, load_preset("workstation"), [0], mirror, ["off_model_sft"])
    (one, *_) = [arm.model for arm in arms if isinstance(arm.model, Trained)]
    assert (one.student, one.data.longest, one.training.max_length) == ("qwen2.5-1.5b", 1024, 2048)
    weights = 2 * 1_543_714_304
    kept = 2 * (60 + 1024) * 2.4e6 * 1.543714304**0.5
    two = Running(device_batch=2)
    assert memory_bytes(one, two) == pytest.approx(1.1 * weights + 4e9 + kept)
    lean = Running(device_batch=2, gradient_checkpointing=True)
    assert memory_bytes(one, lean) == pytest.approx(1.1 * weights + 4e9 + 0.1 * kept)
    # In full: 16 bytes for each of the weights (fp32, gradient, two moments) instead of 2.
    full = one.but(training=one.training.but(method="full"))
    assert memory_bytes(full, two) == pytest.approx((16 / 2 + 0.1) * weights + 4e9 + kept)
    asked = one.scores(resolve_task("arithmetic"), 5, Decoding(temperature=0, max_tokens=9))
    assert memory_bytes(asked, two) == int(1.25 * weights) + 4_000_000_000


def test_memory_of_pairs_by_hand() -> None:
    pytest.importorskip("trl", reason="needs the extra `rl`")
    study = Study(load_preset("pocket"), 0)
    (student,) = study.students
    preferred = student.prefer(study.preferences(student), study.dpo)
    card = MODELS["smollm2-135m"]
    # two pairs where other trainings hold eight examples
    kept = 2 * 2 * (60 + 128) * (2.4e6 * (card.parameters / 1e9) ** 0.5 + 3.6e6)
    assert memory_bytes(preferred, Running(device_batch=8)) == pytest.approx(1.1 * card.checkpoint_bytes + 4e9 + kept)
    assert memory_bytes(preferred, Running(device_batch=1)) < memory_bytes(preferred, Running(device_batch=8))


def test_memory_of_sampled_answers_by_hand() -> None:
    pytest.importorskip("trl", reason="needs the extra `rl`")
    study = Study(load_preset("pocket"), 0)
    (student,) = study.students
    eight, card = Running(device_batch=8), MODELS["smollm2-135m"]
    reinforced = student.reinforce(study.problems, study.rl("number"))
    longest = 60 + reinforced.rl.max_completion_tokens
    kept = 8 * longest * 2.4e6 * (card.parameters / 1e9) ** 0.5
    assert memory_bytes(reinforced, eight) == pytest.approx(1.1 * card.checkpoint_bytes + 4e9 + kept)
    # The keys and values of 8,000 answers weigh more than what eight of them keep for their way back.
    many = reinforced.but(rl=reinforced.rl.but(prompts_per_update=1000, group=8))
    cached = 8000 * longest * 150e3 * card.parameters / 1e9
    assert memory_bytes(many, eight) == pytest.approx(1.1 * card.checkpoint_bytes + 4e9 + cached)


@pytest.mark.parametrize("alias", MODELS)
def test_a_card_is_pinned_and_complete(alias: str) -> None:
    card = MODELS[alias]
    assert card.alias == alias == model(alias).alias
    assert card.title and card.family and card.licence
    if isinstance(card.source, HubCheckpoint):
        assert re.fullmatch(r"[0-9a-f]{40}", card.source.commit)
        assert model(alias).weights == f"hub:{card.source.commit[:16]}"
    elif isinstance(card.source, ApiModel):
        assert model(alias).weights == f"api:{card.source.name}"
        with pytest.raises(RequestError, match="no weights to accept"):
            model(alias, "a" * 64)
    else:
        assert isinstance(card.source, HubGguf | PackagedGguf)
        assert re.fullmatch(r"[0-9a-f]{64}", card.source.sha256)
        assert model(alias).weights == f"sha256:{card.source.sha256[:16]}"


def test_quirks_and_accepted_weights_are_part_of_what_a_model_is() -> None:
    assert model("qwen3-1.7b").chat == 'template:{"enable_thinking": false}'
    assert model("smollm2-135m").chat == "template"
    assert model("smollm2-135m", "a" * 64).weights == "sha256:" + "a" * 16
    assert model("smollm2-135m", "a" * 64).id != model("smollm2-135m").id
