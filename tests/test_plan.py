"""From arms to steps to batches: each artefact once, parents first, in as few workers as can be."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMOKE, run_study

from offmodel.cells import collect_arms, measurements, own_answers, requested_tasks
from offmodel.collect import has_style
from offmodel.errors import RequestError
from offmodel.executors import Outcome
from offmodel.paths import ROOT
from offmodel.plan import Plan, make_plan, next_batch
from offmodel.presets import AnswersRead, ScriptSize, load_preset
from offmodel.recipes import Completions, Reinforced, Scripted, Trained
from offmodel.runner import run
from offmodel.settings import Running, Settings
from offmodel.store import Store
from offmodel.study import Arm, Experiment, Study

EXPERIMENT: Experiment = runpy.run_path(str(ROOT / "experiments" / "01_degradation.py"))["arms"]
PRESET = load_preset("pocket")


def arms(seeds: list[int], only: list[str] | None = None) -> list[Arm]:
    return collect_arms(EXPERIMENT, PRESET, seeds, None, only)


def plan(root: Path, seeds: list[int]) -> Plan:
    cells = measurements(arms(seeds), requested_tasks(PRESET, None, None, None))
    return make_plan([cell.scores for cell in cells], Store(root))


def batches(made: Plan) -> list[list[str]]:
    remaining, finished, found = made.missing, set(), []
    while batch := next_batch(remaining, finished):
        found.append([step.recipe.id for step in batch])
        finished |= set(found[-1])
        remaining = [step for step in remaining if step.recipe.id not in finished]
    assert remaining == []
    return found


def test_the_experiment_names_itself() -> None:
    assert (EXPERIMENT.name, EXPERIMENT.number, EXPERIMENT.figures) == ("01_degradation", 1, ("F1", "F2", "F6"))
    assert EXPERIMENT.question.startswith("01 · ")


def test_arms_of_all_seeds_with_the_untrained_student_once() -> None:
    found = arms([0, 1])
    trained = ["on_model_sft", "off_model_sft", "off_model_dft"]
    assert [arm.name for arm in found] == ["untrained", *trained, *trained]
    assert len({arm.model.id for arm in found}) == 7


def test_a_script_may_have_seeds_and_tasks_of_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    sized = '[scripts.01_degradation]\nseeds = [3, 4]\ntasks = ["arithmetic"]\n'
    mine.write_text(f"{SMOKE.read_text(encoding='utf-8')}\n{sized}", encoding="utf-8")
    for asked, seeds in (((), [3, 4]), (("--seeds", "7"), [7])):
        done = run_study("--preset", str(mine), "--plan", "--runs", str(tmp_path / "runs"), *asked)
        assert done.returncode == 0 and f"; seeds {seeds}\n" in done.stdout
        assert ".arithmetic5-" in done.stdout and ".instructions8-" not in done.stdout
    assert load_preset(str(mine)).of_script("06_on_model_repair").seeds == [0]


def test_a_script_may_take_some_of_the_teachers() -> None:
    repair: Experiment = runpy.run_path(str(ROOT / "experiments" / "06_on_model_repair.py"))["arms"]
    sized = ScriptSize(teachers=["gemma3-270m"])
    all_of_them = {"teachers": ["gemma3-270m", "gemma3-1b"], "scripts": {"06_on_model_repair": sized}}
    few = PRESET.model_copy(update=all_of_them)
    found = collect_arms(repair, few, [0], None, None)
    assert {arm.parameters["after"] for arm in found if "after" in arm.parameters} == {"gemma3-270m"}
    assert "third_model_repair" in {arm.name for arm in found}  # the other one is still there to be it
    both = few.model_copy(update={"scripts": {"20_mine": sized}})  # no script of ours
    with pytest.raises(RequestError, match="unknown script '20_mine'"):
        collect_arms(repair, both, [0], None, None)
    assert both.of_script("20_mine") == ScriptSize(
        seeds=[0], students=["smollm2-135m"], teachers=["gemma3-270m"], tasks=[]
    )


def test_a_script_may_take_some_of_the_students_and_distil_fewer() -> None:
    repair: Experiment = runpy.run_path(str(ROOT / "experiments" / "06_on_model_repair.py"))["arms"]
    both = PRESET.model_copy(update={"students": ["smollm2-135m", "qwen2.5-0.5b"]})
    sized = both.model_copy(update={"scripts": {"06_on_model_repair": ScriptSize(students=["qwen2.5-0.5b"])}})
    assert {arm.model.student for arm in collect_arms(repair, sized, [0], None, None)} == {"qwen2.5-0.5b"}
    assert [one.teacher for one in own_answers(sized, ["qwen2.5-0.5b"], [0], None)] == ["qwen2.5-0.5b"]
    pytest.importorskip("trl", reason="needs the extra `rl`")
    distilled = PRESET.distillation.model_copy(update={"students": ("smollm2-135m",)})
    found = collect_arms(repair, both.model_copy(update={"distillation": distilled}), [0], None, None)
    for name, students in [("on_model_repair", 2), ("on_policy_distillation", 1)]:
        assert len({arm.model.student for arm in found if arm.name == name}) == students
    strange = both.model_copy(update={"scripts": {"12_rl": ScriptSize(students=["smolm2-135m"])}})
    with pytest.raises(RequestError, match=r"\[scripts.12_rl\] unknown student 'smolm2-135m'; did you mean"):
        strange.of_script("01_degradation")


def test_off_model_arms_differ_in_the_objective_alone() -> None:
    by_name = {arm.name: arm.model for arm in arms([0])}
    sft, dft = by_name["off_model_sft"], by_name["off_model_dft"]
    assert isinstance(sft, Trained) and isinstance(dft, Trained)
    assert dft == sft.but(training=dft.training)
    assert dft.training == sft.training.but(objective="dft")
    assert (sft.student, sft.teacher) == ("smollm2-135m", "gemma3-270m")


def test_a_seed_reaches_the_answers_and_the_training() -> None:
    models = [arm.model for arm in arms([3]) if isinstance(arm.model, Trained)]
    assert {made.training.seed for made in models} == {3}
    assert {made.data.decoding.seed for made in models if isinstance(made.data, Completions)} == {3}


def test_only_keeps_the_untrained_student() -> None:
    assert [arm.name for arm in arms([0], only=["off_model_sft"])] == ["untrained", "off_model_sft"]


def test_floors_are_measured_for_generated_answers_alone() -> None:
    cells = measurements(arms([0]), requested_tasks(PRESET, None, None, None))
    floors = {(cell.arm.name, cell.task.task.name) for cell in cells if isinstance(cell.arm.model, Scripted)}
    assert {task for _, task in floors} == {"instructions", "arithmetic"}
    assert {name for name, _ in floors} == {"floor_echo", "floor_constant", "floor_shuffled"}


def test_the_floor_of_several_answers_is_that_of_as_many_to_another_problem() -> None:
    script: Experiment = runpy.run_path(str(ROOT / "experiments" / "11_best_of_n.py"))["arms"]
    sampled = collect_arms(script, PRESET, [5], None, None)
    cells = measurements(sampled, requested_tasks(PRESET, ["arithmetic"], 8, None))
    scores = {cell.arm.name: cell.scores for cell in cells}
    assert scores["untrained"].samples == PRESET.best_of_n.samples > 1
    assert scores["floor_shuffled"].parents() == (scores["untrained"],)  # no greedy answers are made for it
    assert scores["floor_echo"].samples == scores["floor_constant"].samples == 1


def test_answers_are_read_by_the_untrained_student_after_they_were_given(tmp_path: Path) -> None:
    tasks = requested_tasks(PRESET, None, 8, None)
    cells = measurements(arms([0]), tasks, AnswersRead(tasks=["arithmetic"], n=40))
    read = [cell for cell in cells if cell.likelihood]
    assert [cell.arm.name for cell in read] == [arm.name for arm in arms([0])]
    for cell in read:
        assert cell.likelihood == arms([0])[0].model.likelihood(cell.scores, 8)
    steps = make_plan([recipe for cell in cells for recipe in cell.recipes], Store(tmp_path))
    (worker,) = [batch for batch in batches(steps) if ".reads-" in batch[0]]
    assert worker == batches(steps)[-1] and len(worker) == 4


def test_style_is_measured_where_an_arm_learned_from_another_model() -> None:
    written, choices = (requested_tasks(PRESET, [name], 8, None) for name in ("arithmetic", "knowledge"))
    at_home = [arm for arm in arms([0]) if arm.name in ("untrained", "on_model_sft")]
    assert has_style(measurements(arms([0]), written))
    assert not has_style(measurements(arms([0]), choices))
    assert not has_style(measurements(at_home, written))


@pytest.mark.parametrize(("script", "planned"), [("10_inoculation.py", True), ("16_dft.py", False)])
def test_the_students_own_answers_are_planned_where_style_is_measured(
    script: str, planned: bool, tmp_path: Path
) -> None:
    study = Study(PRESET, 0)
    own = study.students[0].answer(study.chat, study.sampling)  # no arm of 10 is trained on them
    done = run_study("--plan", "--runs", str(tmp_path), script=script)
    assert done.returncode == 0 and (own.id in done.stdout) == planned


def test_choices_cannot_be_read() -> None:
    with pytest.raises(RequestError, match="the answers to 'knowledge' are choices"):
        measurements(arms([0]), requested_tasks(PRESET, None, None, None), AnswersRead(tasks=["knowledge"], n=1))


def test_a_limit_asks_for_fewer_problems_and_never_for_more() -> None:
    full = requested_tasks(PRESET, None, None, None)
    assert [request.n for request in requested_tasks(PRESET, None, 8, None)] == [8, 8, 8]
    assert requested_tasks(PRESET, None, 10**6, None) == full


def test_steps_are_unique_and_come_after_their_parents(tmp_path: Path) -> None:
    steps = plan(tmp_path, [0, 1]).steps
    ids = [step.recipe.id for step in steps]
    assert len(ids) == len(set(ids))
    for position, step in enumerate(steps):
        assert {parent.id for parent in step.recipe.parents()} <= set(ids[:position])


@pytest.mark.parametrize("seeds", [[0], [0, 1, 2]])
def test_any_number_of_seeds_takes_five_workers(tmp_path: Path, seeds: list[int]) -> None:
    assert len(batches(plan(tmp_path, seeds))) == 5


def test_own_samples_are_judged_where_they_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="needs the extra `rl`")
    offline: Experiment = runpy.run_path(str(ROOT / "experiments" / "17_offline_rl.py"))["arms"]
    tasks = requested_tasks(PRESET, ["arithmetic"], 8, None)
    cells = measurements(collect_arms(offline, PRESET, [0], None, None), tasks)
    made = make_plan([cell.scores for cell in cells], Store(tmp_path))
    (drawn,) = [batch for batch in batches(made) if any(name.startswith("accepted-") for name in batch)]
    assert sum(".arithmetic_train400-" in name for name in drawn) == 4
    assert sum(name.startswith("preferences-") for name in drawn) == 1
    (trained,) = [step for step in made.steps if step.group.startswith("dpo:")]
    assert trained.tokens == 400 * 2 * 2 * (60 + 128)  # two pairs of each problem, two answers of each pair


@pytest.mark.parametrize("rate", [None, 2e-4])
def test_rl_goes_on_from_the_damage_that_its_section_names(rate: float | None) -> None:
    pytest.importorskip("trl", reason="needs the extra `rl`")
    script: Experiment = runpy.run_path(str(ROOT / "experiments" / "12_rl.py"))["arms"]
    preset = PRESET.model_copy(update={"rl": PRESET.rl.model_copy(update={"sft_learning_rate": rate})})
    found = collect_arms(script, preset, [0], None, None)
    (damaged,) = [arm.model for arm in found if arm.name == "off_model_sft"]
    assert isinstance(damaged, Trained) and damaged.training.learning_rate == (rate or PRESET.sft.learning_rate)
    ends = [arm for arm in found if arm.parameters.get("updates") == PRESET.rl.updates]
    starts = {(arm.parameters["start"], arm.parameters["reward"]): arm.model for arm in ends}
    assert list(starts) == [("off_model_sft", "number"), ("off_model_sft", "format"), ("untrained", "number")]
    assert [model.start == damaged for model in starts.values() if isinstance(model, Reinforced)] == [True, True, False]


def test_running_settings_change_no_id(tmp_path: Path) -> None:
    text = SMOKE.read_text(encoding="utf-8")
    assert "chunk = 4\nsave_every = 1\n" in text
    mine = tmp_path / "smoke.toml"
    mine.write_text(text.replace("chunk = 4\nsave_every = 1\n", "chunk = 7\nmax_num_seqs = 3\ndevice_batch = 2\n"))
    ids = []
    for path in (SMOKE, mine):
        preset = load_preset(str(path))
        cells = measurements(
            collect_arms(EXPERIMENT, preset, [0], None, None), requested_tasks(preset, None, None, None)
        )
        ids.append([cell.scores.id for cell in cells])
    assert ids[0] == ids[1]


def test_a_finished_artefact_is_not_planned_again_and_hides_its_parents(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cells = measurements(arms([0]), requested_tasks(PRESET, ["knowledge"], None, None))
    wanted = [cell.scores for cell in cells]
    for scores in wanted:
        store.make(scores, lambda out, scratch: None, dict)
    made = make_plan(wanted, store)
    assert (len(made.steps), made.missing) == (4, [])
    assert made.describe(Running()).endswith(
        "4 of 4 artefacts are there; the rest takes about 0 tokens, 0 minutes on 2 CPU cores, 0.0 GB of disk"
    )


def test_a_failure_holds_up_only_what_needs_it(tmp_path: Path) -> None:
    made = plan(tmp_path, [0])

    def executor(recipes, settings) -> Outcome:
        failed = {recipe.id: "broken" for recipe in recipes if recipe.id.startswith("smollm2-135m.dft-")}
        return Outcome({recipe.id for recipe in recipes} - failed.keys(), failed, tmp_path / "log")

    report = run(made, Settings(runs=tmp_path), executor)
    assert [name.rpartition("-")[0] for name in report.failed] == ["smollm2-135m.dft-gemma3-270m"]
    assert len(report.blocked) == 3 and all(".dft-gemma3-270m." in name for name in report.blocked)
    assert len(report.made) == len(made.steps) - 4
    assert "failed: smollm2-135m.dft-gemma3-270m-" in report.describe_failures()


def test_a_worker_that_says_nothing_is_not_started_for_ever(tmp_path: Path) -> None:
    report = run(plan(tmp_path, [0]), Settings(runs=tmp_path), lambda recipes, settings: Outcome(set(), {}, tmp_path))
    assert report.made == [] and len(report.failed) >= 2


def test_a_student_that_is_asked_in_context_is_refused() -> None:
    preset = PRESET.model_copy(update={"students": ["gemma3-270m"], "teachers": ["smollm2-135m"]})
    with pytest.raises(RequestError, match="cannot be a student"):
        collect_arms(EXPERIMENT, preset, [0], None, None)


def test_a_plan_imports_no_model_library() -> None:
    code = (
        "import runpy, sys; sys.argv = ['01_degradation.py', '--plan']\n"
        f"try: runpy.run_path({str(ROOT / 'experiments' / '01_degradation.py')!r}, run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'vllm', 'lm_eval', 'peft', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "smollm2-135m.sft-gemma3-270m" in done.stdout


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("01_degradation", "this training has one step, whose learning rate is 0 while it warms up"),
        ("06_on_model_repair", "asked for 4000 prompts of 'chat' without mathematics after the first 16"),
        ("07_prefill", "a prefill of 4000 tokens leaves none of the 24 of 'instructions'"),
        ("10_inoculation", "unknown framing 'stile'; did you mean 'style'?"),
        ("12_rl", "an update asks 4000 different problems, and 16 of 'arithmetic_train' have an answer"),
        ("16_dft", "snapshots [4000] go beyond the 2 steps of a training on 16 examples in batches of 8"),
        ("18_objectives", "unknown objective 'nonesuch'"),
    ],
)
def test_what_an_intervention_cannot_do_is_said_while_planning(tmp_path: Path, script: str, said: str) -> None:
    mine = tmp_path / "mine.toml"
    changes = {
        "batch_size = 8\nmax_length = 256\n\n[tasks": "batch_size = 16\nmax_length = 256\n\n[tasks",
        "sizes = [8]\ncontrols = [8]": "sizes = [4000]",
        "tokens = [0, 4]\ncontrols = [4]": "tokens = [4000]",
        '["style"]': '["stile"]',
        '"asft"': '"nonesuch"',
        "prompts_per_update = 4\ngroup": "prompts_per_update = 4000\ngroup",
        "snapshots = [1]\nlearning_rates": "snapshots = [4000]\nlearning_rates",
    }
    text = SMOKE.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    mine.write_text(text, encoding="utf-8")
    done = run_study("--preset", str(mine), "--plan", "--runs", str(tmp_path / "runs"), script=f"{script}.py")
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.strip().splitlines()) == 1
