"""The numbered script as a user runs it: two optimiser steps, the real engines, killed on the way and resumed."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import SMOKE, run_study, study_command

from offmodel.cells import collect_arms, collect_readings, measurements, requested_tasks
from offmodel.executors import run_locally
from offmodel.paths import ROOT
from offmodel.plan import make_plan
from offmodel.presets import load_preset
from offmodel.runner import run
from offmodel.settings import Settings
from offmodel.store import Store

pytest.importorskip("vllm", reason="the study's engine")


@pytest.fixture(scope="module")
def finished(run_folder_with_models) -> tuple[Path, str]:
    """A run folder after an uninterrupted run, and what it printed."""
    runs = run_folder_with_models()
    done = run_study("--preset", str(SMOKE), "--runs", str(runs))
    assert done.returncode == 0, done.stdout + done.stderr
    return runs, done.stdout


def results(runs: Path, of: str = "smoke") -> pd.DataFrame:
    return pd.read_parquet(runs / "results" / of / "01_degradation" / "items.parquet")


def test_it_ends_with_a_table_and_figures(finished) -> None:
    runs, printed = finished
    for word in ("untrained", "on_model_sft", "off_model_sft", "off_model_dft", "floor", "Arithmetic"):
        assert word in printed
    figures = [Path(line.split()[-1]) for line in printed.splitlines() if line.startswith("figure:")]
    assert {path.name for path in figures} == {"F1.png", "F2.png", "F6.png"}
    assert all(path.is_file() for path in figures)
    items = results(runs)
    assert set(items.groupby("task").item.nunique().items()) == {
        ("instructions", 8),
        ("knowledge", 8),
        ("arithmetic", 5),
    }
    assert items[items.arm == "off_model_dft"][["teacher", "objective"]].drop_duplicates().values.tolist() == [
        ["gemma3-270m", "dft"]
    ]


def test_answers_are_read_by_the_untrained_student(finished) -> None:
    runs, _ = finished
    style = pd.read_parquet(runs / "results" / "smoke" / "01_degradation" / "style.parquet")
    read = style[style["home_logprob"].notna()]
    assert set(read["task"]) == {"arithmetic"} and set(read.groupby("arm").size()) == {4}
    means = read.groupby("arm")["home_logprob"].mean()
    assert (means < 0).all() and means["untrained"] > -1, "greedy answers are likely under the model that gave them"
    (folder,) = (runs / "likelihood").glob("smollm2-135m.reads-smollm2-135m.arithmetic5-*")
    tokens = pd.read_parquet(folder / "tokens.parquet")
    (scores,) = (runs / "scores").glob("smollm2-135m.arithmetic5-*")
    answers = pd.read_parquet(scores / "items.parquet")[:4]
    assert tokens["key"].tolist() == answers["item"].tolist()
    assert tokens["logprobs"].map(len).tolist() == answers["response_tokens"].tolist()


def test_artefacts_name_what_made_them(finished) -> None:
    runs, _ = finished
    (folder,) = (runs / "trained").glob("smollm2-135m.dft-gemma3-270m-*")
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["id"] == folder.name and len(provenance["parents"]) == 2
    assert provenance["packages"]["torch"]
    curve = pd.read_parquet(folder / "training.parquet")
    assert list(curve.step) == [1, 2]
    assert (curve.loss < curve.nll).all(), "a DFT loss is the NLL times a probability"


def test_a_second_run_makes_nothing(finished) -> None:
    runs, _ = finished
    logs = sorted((runs / "logs").iterdir())
    started = time.monotonic()
    done = run_study("--preset", str(SMOKE), "--runs", str(runs))
    assert done.returncode == 0
    assert "all artefacts were there, no model was loaded" in done.stdout
    assert sorted((runs / "logs").iterdir()) == logs
    assert time.monotonic() - started < 60


SCRIPTS = sorted((ROOT / "experiments").glob("[0-9]*.py"))
SCRIPTS_BY_NAME = {script.stem: script for script in SCRIPTS}


def _tasks(script: Path) -> list[str] | None:
    """The preset's for 01; one, to save time, for the scripts that ask the same of other students."""
    return None if script.name.startswith("01") else ["arithmetic"]


def _results(runs: Path, script: Path, name: str) -> pd.DataFrame:
    """A table of a script's results; those of a part of the tasks are kept apart."""
    return pd.read_parquet(runs / "results" / ("smoke.part" if _tasks(script) else "smoke") / script.stem / name)


@pytest.fixture(scope="module")
def made(finished) -> Path:
    """The run folder with the artefacts of all scripts, made together: a model that several need is started once."""
    runs, _ = finished
    preset, wanted = load_preset(str(SMOKE)), []
    for script in SCRIPTS:
        experiment = runpy.run_path(str(script))["arms"]
        tasks = requested_tasks(preset, _tasks(script), None, None, experiment.tasks)
        cells = measurements(collect_arms(experiment, preset, preset.seeds, None, None), tasks, preset.reading)
        wanted += [recipe for cell in cells for recipe in cell.recipes]
        wanted += [reading.likelihood for reading in collect_readings(experiment, preset, preset.seeds, None)]
    settings = Settings(**preset.run.model_dump(), runs=runs, engine="vllm")
    report = run(make_plan(wanted, Store(runs)), settings, run_locally)
    assert not report.failed, report.describe_failures()
    return runs


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_numbered_script_runs(made: Path, script: Path) -> None:
    tasks = ["--tasks", ",".join(named)] if (named := _tasks(script)) else []
    done = run_study("--preset", str(SMOKE), "--runs", str(made), *tasks, script=script.name)
    assert done.returncode == 0, done.stdout + done.stderr
    items = _results(made, script, "items.parquet")
    assert items["correct"].isin([True, False]).all() and items["arm"].nunique() > 3
    assert "all artefacts were there" in done.stdout


def test_every_training_took_its_steps(made: Path) -> None:
    curves = {path.parent.name: pd.read_parquet(path) for path in made.glob("trained/*/training.parquet")}
    for name, curve in curves.items():
        learned = json.loads((made / "trained" / name / "recipe.json").read_text())["data"]
        if learned["kind"] in ("accepted", "solutions_instead"):
            continue  # as many as were right
        # 16 answers are two steps of 8, or four of 4 in the grid of 16; a repair has 8 answers
        steps = {1} if name.count(".sft-") == 2 else {2, 4} if "-solutions-" in name else {2}
        assert len(curve) in steps and list(curve.step) == list(range(1, len(curve) + 1)), name


def test_a_prefill_of_no_tokens_gives_the_scores_without_one(made: Path) -> None:
    items = _results(made, SCRIPTS_BY_NAME["07_prefill"], "items.parquet")
    plain = items[items["arm"] == "off_model_sft"]
    none = items[(items["arm"] == "prefill") & (items["tokens"] == 0)]
    assert len(plain) and none["scores_id"].unique().tolist() == plain["scores_id"].unique().tolist()
    begun = items[(items["arm"] == "prefill") & (items["tokens"] == 4)]
    assert begun["prefill_answers"].notna().all() and plain["prefill_answers"].isna().all()


def test_an_inoculation_with_nothing_is_the_plain_student(made: Path) -> None:
    items = _results(made, SCRIPTS_BY_NAME["10_inoculation"], "items.parquet")
    plain = items[(items["trained_with"] == "none") & (items["asked_with"] == "none")]
    degraded = results(made)[lambda table: table["arm"] == "off_model_sft"]
    assert set(plain["scores_id"]) <= set(degraded["scores_id"])
    read = _results(made, SCRIPTS_BY_NAME["10_inoculation"], "likelihoods.parquet")
    assert set(read["trained_with"]) == {"none", "style"}
    assert (read["logprob"] < 0).all() and (read.groupby("trained_with").size() == 16).all()


def test_rl_is_scored_on_the_way(made: Path) -> None:
    items = _results(made, SCRIPTS_BY_NAME["12_rl"], "items.parquet")
    reinforced = items[items["arm"] == "rl"]
    conditions = reinforced[["start", "reward", "updates"]].drop_duplicates().values.tolist()
    assert sorted(conditions) == sorted(
        [start, reward, updates]
        for start, reward in (("off_model_sft", "number"), ("off_model_sft", "format"), ("untrained", "number"))
        for updates in (1, 2)
    )
    curves = _results(made, SCRIPTS_BY_NAME["12_rl"], "curves.parquet")
    updates = curves[curves["objective"] == "grpo"]
    assert len(updates) == 6 and updates.groupby(["start", "reward"])["step"].apply(list).map(len).eq(2).all()
    assert updates["reward_of_step"].between(0, 1).all()


def test_training_on_solutions_is_scored_on_the_way_and_its_tokens_are_counted(made: Path) -> None:
    items = _results(made, SCRIPTS_BY_NAME["16_dft"], "items.parquet")
    trained = items[items["teacher"] == "solutions"]
    assert sorted(trained[["arm", "step"]].dropna().drop_duplicates().values.tolist()) == [
        ["dft", 1], ["dft", 2], ["sft", 1], ["sft", 2],
    ]  # fmt: skip
    assert set(trained.loc[trained["step"].isna(), "batch_size"]) == {4}
    assert set(trained["objective"]) == {"sft", "dft"} and set(trained["sample"]) == {0, 1}
    counted = _results(made, SCRIPTS_BY_NAME["16_dft"], "probabilities.parquet")
    tokens = counted.groupby("arm")["tokens"].sum()
    assert set(tokens.index) == {"untrained", "sft", "dft"} and tokens.nunique() == 1 and tokens.iloc[0] > 40


def test_distillation_has_as_many_prompts_as_the_other_repairs(made: Path) -> None:
    items = _results(made, SCRIPTS_BY_NAME["06_on_model_repair"], "items.parquet")
    distilled = items[items["arm"] == "on_policy_distillation"]
    assert distilled[["after", "k", "teacher"]].drop_duplicates().values.tolist() == [
        ["gemma3-270m", 8, "smollm2-135m"]
    ]
    curves = _results(made, SCRIPTS_BY_NAME["06_on_model_repair"], "curves.parquet")
    updates = curves[curves["arm"] == "on_policy_distillation"]
    assert updates["step"].tolist() == [1, 2] and (updates["kl"] > 0).all()
    assert (updates["sampled_tokens"] <= 4 * 16).all()
    (folder,) = made.glob("distilled/*")
    assert len(json.loads((folder / "provenance.json").read_text())["parents"]) == 2


def test_best_of_n_draws_samples(made: Path) -> None:
    items = _results(made, SCRIPTS_BY_NAME["11_best_of_n"], "items.parquet")
    drawn = items[~items["arm"].str.startswith("floor_")]
    assert set(drawn["sample"]) == {0, 1} and (drawn.groupby(["arm", "task", "item"]).size() == 2).all()


def test_offline_rl_learns_from_its_own_answers(made: Path) -> None:
    script = SCRIPTS_BY_NAME["17_offline_rl"]
    items = _results(made, script, "items.parquet")
    asked = items[~items["arm"].str.startswith("floor_")]
    by_solutions = {"solutions_sft", "solutions_dft"}
    assert set(asked["arm"]) == {"untrained", "rft", "offline_dft", "offline_iw_sft", "dpo", "grpo"} | by_solutions
    assert (asked.groupby(["arm", "item"]).size() == 2).all()
    curves = _results(made, script, "curves.parquet")
    assert (curves.groupby("arm")["sampled_tokens"].sum() > 0).all()
    found = (next(made.glob(f"{kind}/*/completions.parquet")) for kind in ("accepted", "solutions_instead"))
    by_itself, by_solution = map(pd.read_parquet, found)
    assert by_itself["prompt_id"].equals(by_solution["prompt_id"])
    assert by_solution["answer"].str.contains("The answer is").all()
    assert by_solution.groupby("prompt_id")["answer"].nunique().eq(1).all()
    table = (made / "results" / "smoke.part" / script.stem / "T3.md").read_text(encoding="utf-8")
    assert "| offline DFT |" in table and "| DPO |" in table
    (pairs,) = made.glob("preferences/*/provenance.json")
    told = json.loads(pairs.read_text())
    assert told["answers"] == 64 and 0 < told["pairs"] <= told["right"]


# One training and one task of the study, to save time: each kind of work is in it.
A_PART = ["--only", "off_model_dft", "--tasks", "arithmetic"]


def kill_when(runs: Path, pattern: str) -> None:
    """Start a part of the study and kill it with its worker as soon as a file matches, as a power cut would."""
    study = subprocess.Popen(
        study_command("--preset", str(SMOKE), "--runs", str(runs), *A_PART),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 600
    while not list(runs.glob(pattern)):
        assert study.poll() is None and time.monotonic() < deadline, f"ended before {pattern} was there"
        time.sleep(0.005)
    # A worker left alone ends within half a second, which is enough to finish the last answers of so small a part.
    workers = [pid for task in Path(f"/proc/{study.pid}/task").glob("*/children") for pid in task.read_text().split()]
    study.kill()
    for pid in workers:
        os.killpg(int(pid), signal.SIGKILL)
    study.wait()
    assert workers, f"no worker was at work when {pattern} was there"


def test_a_worker_ends_soon_after_its_study() -> None:
    """A restarted study finds the locks of a killed one free."""
    worker = "import time; from offmodel.worker import die_with_parent; die_with_parent(); print('up'); time.sleep(60)"
    study = (
        "import os, subprocess, sys, time; from offmodel.worker import PARENT\n"
        "environment = {**os.environ, PARENT: str(os.getpid()), 'PYTHONUNBUFFERED': '1'}\n"
        f"subprocess.Popen([sys.executable, '-c', {worker!r}], env=environment, start_new_session=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", study], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"up\n"
        killed.kill()
        before = time.monotonic()
        assert killed.stdout.read() == b""  # its end comes when the worker, which writes to it too, is gone
    assert time.monotonic() - before < 20


KILLED_DURING = {
    "generation": ("work/gemma3-270m.chat16-*/answers.jsonl", "completions/gemma3-270m.chat16-*"),
    "training": ("work/*.dft-gemma3-270m-*/checkpoint-1", "trained/*.dft-gemma3-270m-*"),
    "evaluation": ("work/*.dft-gemma3-270m.arithmetic5-*/answers.jsonl", "scores/*.dft-gemma3-270m.arithmetic5-*"),
}


def test_a_run_killed_at_every_stage_resumes_to_the_same_result(finished, run_folder_with_models) -> None:
    reference, _ = finished
    runs = run_folder_with_models()
    made: dict[Path, int] = {}
    for during, (pattern, unfinished) in KILLED_DURING.items():
        kill_when(runs, pattern)
        assert not list(runs.glob(unfinished)), f"published before its {during} was finished"
        made |= {path: path.stat().st_mtime_ns for path in runs.glob("*/*/DONE") if path not in made}
    done = run_study("--preset", str(SMOKE), "--runs", str(runs), *A_PART)
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == when for path, when in made.items()), "something was made twice"
    resumed, whole = results(runs, "smoke.part"), results(reference)
    assert {"untrained", "off_model_dft", "floor_shuffled"} <= set(resumed["arm"])
    same = whole[(whole["task"] == "arithmetic") & whole["arm"].isin(resumed["arm"])]
    # A column that is empty in a part has another type in the whole.
    same = same.reset_index(drop=True).dropna(axis="columns", how="all")
    pd.testing.assert_frame_equal(resumed.dropna(axis="columns", how="all"), same)


def test_a_damaged_artefact_is_remade(finished) -> None:
    runs, _ = finished
    (scores,) = (runs / "scores").glob("smollm2-135m.dft-gemma3-270m.knowledge8-*")
    before = results(runs)
    with (scores / "items.parquet").open("r+b") as file:
        file.write(b"XXXX")
    done = run_study("--preset", str(SMOKE), "--runs", str(runs))
    assert done.returncode == 0
    assert "1 artefacts made" in done.stdout
    pd.testing.assert_frame_equal(results(runs), before)
