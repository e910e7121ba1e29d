"""Training runs on a tiny random model, and one on a real small one."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_student import LORA, VOCABULARY, Run, assert_same_adapter, random_examples
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration

from offmodel.data.chat import MASKED, Example, example, load_chat_format
from offmodel.errors import RequestError, RunError
from offmodel.training.merge import merge
from offmodel.training.objectives import OBJECTIVES
from offmodel.training.sft import StudentTrainer
from offmodel.values import Training

FAR_FROM_LEARNED: dict[str, dict[str, float]] = {"stm": {"perplexity": 200}}
"""Parameters with which a random model, to which every token is a surprise, has something to learn."""

# What a training computes


def test_the_first_row_of_the_curve_is_the_loss_of_the_start(tiny: Path, run: Run) -> None:
    examples = random_examples(4)
    curve = pd.read_parquet(run(examples, LORA.but(objective="dft")) / "training.parquet")
    model = AutoModelForCausalLM.from_pretrained(tiny)
    nll = []
    for one in examples:
        with torch.no_grad():
            logp = model(torch.tensor([one.input_ids])).logits[0].log_softmax(-1)
        nll += [-logp[t - 1, label].item() for t, label in enumerate(one.labels) if label != MASKED]
    p = np.exp(-np.array(nll))
    row = curve.iloc[0]
    assert row["nll"] == pytest.approx(np.mean(nll), rel=1e-5)
    assert row["token_probability"] == pytest.approx(p.mean(), rel=1e-5)
    assert row["loss"] == pytest.approx((p * nll).mean(), rel=1e-5)
    assert row["tokens"] == sum(len(one.input_ids) for one in examples)


@pytest.mark.parametrize("training", [LORA, LORA.but(objective="asft"), LORA.but(method="full")])
def test_layers_computed_twice_change_nothing(run: Run, training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    again: list[None] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        again.append(None)
        return checkpoint(*args, **kwargs)

    monkeypatch.setattr("transformers.modeling_utils.checkpoint", counted)
    examples = random_examples(8)
    plain = run(examples, training)
    assert not again
    lean = run(examples, training, gradient_checkpointing=True)
    assert len(again) >= 2 * 2  # two layers in each of two steps
    name = "model.safetensors" if training.method == "full" else "adapter_model.safetensors"
    one, other = (load_file(out / name) for out in (plain, lean))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_base_is_left_as_it_was_by_layers_computed_twice(tiny: Path, tmp_path: Path) -> None:
    students = StudentTrainer(tiny, torch.float32)
    out, work = tmp_path / "out", tmp_path / "work"
    students.train(random_examples(4), LORA, out, work, device_batch=4, gradient_checkpointing=True)
    base = students._base
    assert not base.is_gradient_checkpointing and not base.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize(("objective", "device_batch"), [("sft", 2), *((name, 1) for name in OBJECTIVES)])
def test_small_micro_batches_give_the_adapter_of_one_big_batch(run: Run, objective: str, device_batch: int) -> None:
    examples = random_examples(7)
    examples.append(Example([3, 4, 5], [MASKED] * 3))  # alone, it is a micro-batch without a label
    training = LORA.but(objective=objective, parameters=FAR_FROM_LEARNED.get(objective, {}))
    whole = run(examples, training, device_batch=4)
    parts = run(examples, training, device_batch=device_batch)
    # Adam makes a step of the learning rate, 1e-2, out of gradients however small, and of their rounding errors too.
    assert_same_adapter(whole, parts, tolerance=1e-5 if objective == "sft" else 5e-4)
    one, other = (pd.read_parquet(out / "training.parquet") for out in (whole, parts))
    assert len(one) == 2
    pd.testing.assert_frame_equal(
        one.drop(columns="tokens_per_second"), other.drop(columns="tokens_per_second"), rtol=1e-5
    )


def test_the_schedule_is_the_one_asked_for(run: Run) -> None:
    training = LORA.but(warmup_ratio=0.5, schedule="linear", epochs=1.5)
    curve = pd.read_parquet(run(random_examples(16), training) / "training.parquet")
    assert curve["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert curve["epoch"].tolist() == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    # six steps, three of them warm-up; a step uses the rate that was set before it
    assert curve["learning_rate"].tolist() == pytest.approx([0, 1e-2 / 3, 2e-2 / 3, 1e-2, 2e-2 / 3, 1e-2 / 3])


def test_snapshots_are_the_ends_of_shorter_trainings(run: Run) -> None:
    examples, training = random_examples(8), LORA.but(schedule="constant", warmup_ratio=0, epochs=2)
    assert training.steps(8) == 4
    long = run(examples, training.but(snapshots=(1, 2)))
    short = run(examples, training.but(epochs=1))
    assert_same_adapter(long / "snapshot-2", short)
    with pytest.raises(AssertionError):
        assert_same_adapter(long / "snapshot-1", short)
    assert_same_adapter(long, run(examples, training))
    with pytest.raises(RequestError, match=r"snapshots \[5\] go beyond the 4 steps"):
        run(examples, training.but(snapshots=(5,)))


def test_a_snapshot_of_full_weights_is_a_checkpoint_and_leaves_the_training_as_it_is(run: Run) -> None:
    examples, full = random_examples(12), LORA.but(method="full")
    out = run(examples, full.but(snapshots=(1,)))
    snapshot = AutoModelForCausalLM.from_pretrained(out / "snapshot-1")
    assert snapshot.dtype == torch.bfloat16 and snapshot.config.tie_word_embeddings
    weights, without = load_file(out / "model.safetensors"), load_file(run(examples, full) / "model.safetensors")
    assert "lm_head.weight" not in weights  # tied, as in the start
    assert weights.keys() == without.keys() == load_file(out / "snapshot-1" / "model.safetensors").keys()
    assert all(torch.equal(weights[name], without[name]) for name in weights)


def test_seed_and_objective_change_the_result(run: Run) -> None:
    examples = random_examples(8)
    reference = run(examples)
    assert_same_adapter(reference, run(examples))
    for other in (LORA.but(seed=1), LORA.but(objective="dft")):
        with pytest.raises(AssertionError):
            assert_same_adapter(reference, run(examples, other))


def test_progress_is_told_after_each_step(tiny: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, int]] = []
    examples = random_examples(8)
    StudentTrainer(tiny).train(examples, LORA, tmp_path / "out", tmp_path / "work", lambda *at: told.append(at), 100, 4)
    assert [(done, total) for done, total, _ in told] == [(1, 2), (2, 2)]
    assert sum(tokens for _, _, tokens in told) == sum(len(one.input_ids) for one in examples)


# One base, several students


def test_the_base_stays_untouched_between_students(tiny: Path, tmp_path: Path, run: Run) -> None:
    students = StudentTrainer(tiny, torch.float32)
    for name, seed in (("a", 0), ("b", 1)):
        students.train(random_examples(8, seed), LORA, tmp_path / name, tmp_path / f"{name}-work", device_batch=4)
    assert_same_adapter(tmp_path / "b", run(random_examples(8, seed=1)))
    fresh = AutoModelForCausalLM.from_pretrained(tiny)
    kept = students._base.state_dict()
    assert kept.keys() == fresh.state_dict().keys()
    assert all(torch.equal(kept[name].cpu(), weight) for name, weight in fresh.state_dict().items())
    assert students._base(torch.tensor([[1, 2]])).logits.shape == (1, 2, VOCABULARY)


def test_full_weights_make_a_whole_checkpoint_and_leave_the_start(tiny: Path, run: Run) -> None:
    before = load_file(tiny / "model.safetensors")
    out = run(random_examples(8), LORA.but(method="full", learning_rate=1e-3))
    after = load_file(out / "model.safetensors")
    assert before.keys() == after.keys() == load_file(tiny / "model.safetensors").keys()
    assert all(weight.dtype == torch.bfloat16 for weight in after.values())
    assert all(not torch.equal(after[name].float(), before[name]) for name in before if "norm" not in name)
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(out).vocab_size == VOCABULARY


# Stopped runs

STOPPED = """
import os, signal, sys
from pathlib import Path
import torch
from transformers import Trainer
sys.path.insert(0, {tests!r})
from tiny_student import LORA, random_examples
from offmodel.training.sft import StudentTrainer

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

if {saving}:
    written = Trainer._save_rng_state
    Trainer._save_rng_state = lambda self, to: die() if self.state.global_step == 4 else written(self, to)
StudentTrainer(Path({tiny!r}), torch.float32).train(
    random_examples(24), LORA.but(epochs=1.3, schedule="cosine", objective={name!r}), Path({out!r}), Path({work!r}),
    lambda done, total, tokens: die() if done == 5 else None, save_every=2, device_batch=2)
"""


@pytest.mark.parametrize(
    ("saving", "objective"),
    [(False, "sft"), (True, "sft"), (False, "iw_sft")],
    ids=["between checkpoints", "while writing one", "with a reference"],
)
def test_a_killed_run_resumes_to_the_same_bits(tiny: Path, tmp_path: Path, saving: bool, objective: str) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    script = STOPPED.format(
        tests=str(Path(__file__).parent), saving=saving, tiny=str(tiny), out=str(out), work=str(work), name=objective
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert killed.returncode == -9, killed.stderr
    assert not out.exists()
    assert (work / "checkpoint-4").exists()

    examples, training = random_examples(24), LORA.but(epochs=1.3, schedule="cosine", objective=objective)
    steps: list[int] = []
    students = StudentTrainer(tiny, torch.float32)
    students.train(examples, training, out, work, lambda done, *_: steps.append(done), save_every=2, device_batch=2)
    assert steps == ([3, 4, 5, 6, 7, 8] if saving else [5, 6, 7, 8])

    whole = tmp_path / "whole"
    students.train(examples, training, whole, tmp_path / "other", save_every=2, device_batch=2)
    assert_same_adapter(out, whole)
    one, other = (pd.read_parquet(folder / "training.parquet") for folder in (out, whole))
    pd.testing.assert_frame_equal(
        one.drop(columns="tokens_per_second"), other.drop(columns="tokens_per_second"), check_exact=True
    )

    # Killed after its last checkpoint and before its result was written, a run has only to write it.
    shutil.rmtree(out)
    students.train(examples, training, out, work, lambda *_: pytest.fail("a step was repeated"), 2, 2)
    assert_same_adapter(out, whole)
    assert len(pd.read_parquet(out / "training.parquet")) == len(other)


def test_checkpoints_of_another_training_are_refused(tiny: Path, tmp_path: Path) -> None:
    students = StudentTrainer(tiny, torch.float32)
    students.train(random_examples(8), LORA, tmp_path / "a", tmp_path / "work", save_every=1, device_batch=4)
    with pytest.raises(RequestError, match="belongs to another training"):
        students.train(
            random_examples(8), LORA.but(seed=1), tmp_path / "b", tmp_path / "work", save_every=1, device_batch=4
        )


# What goes wrong


def test_a_diverging_run_is_stopped_and_the_base_is_whole(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    students = StudentTrainer(tiny, torch.float32)
    with monkeypatch.context() as patch:
        patch.setitem(OBJECTIVES, "sft", lambda logp: logp * math.nan)
        with pytest.raises(RunError, match="diverged at step 1 of 2"):
            students.train(random_examples(8), LORA, tmp_path / "a", tmp_path / "a-work", save_every=1, device_batch=4)
    assert not (tmp_path / "a").exists()
    students.train(random_examples(8), LORA, tmp_path / "b", tmp_path / "b-work", device_batch=4)
    assert_same_adapter(tmp_path / "b", run(random_examples(8)))


def test_batches_that_do_not_divide_are_refused(run: Run) -> None:
    with pytest.raises(RequestError, match="no multiple of 3"):
        run(random_examples(8), device_batch=3)


def test_a_step_that_only_warms_up_is_refused(run: Run) -> None:
    with pytest.raises(RequestError, match=r"one step, .* lower batch_size \(4\), .* or set warmup_ratio = 0"):
        run(random_examples(4), LORA.but(warmup_ratio=0.1))
    run(random_examples(4))
    assert len(pd.read_parquet(run(random_examples(5), LORA.but(warmup_ratio=0.1)) / "training.parquet")) == 2


def test_examples_without_completions_are_refused(run: Run) -> None:
    with pytest.raises(RequestError, match="no example has a token to learn"):
        run([Example([1, 2], [MASKED, MASKED])])


def test_a_model_of_text_and_images_is_no_student(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": VOCABULARY, "num_key_value_heads": 1, "head_dim": 8}
    config = Gemma3Config(text_config=text, vision_config={**sizes, "image_size": 28, "patch_size": 14})
    Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path / "both")
    with pytest.raises(RequestError, match="text and more; it can be a teacher"):
        StudentTrainer(tmp_path / "both").train(
            random_examples(4), LORA, tmp_path / "out", tmp_path / "work", device_batch=4
        )


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no checkpoint"):
        StudentTrainer(tmp_path).train(random_examples(4), LORA, tmp_path / "out", tmp_path / "work", device_batch=4)


# Several devices, and a real model

ON_TWO = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from tiny_student import LORA, random_examples
from offmodel.training.sft import StudentTrainer
students = StudentTrainer(Path({tiny!r}), torch.float32)
students.train(random_examples(16), LORA.but(objective={name!r}), Path({out!r}), Path({work!r}), device_batch=1)
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU stand for two devices")
@pytest.mark.parametrize("objective", ["sft", "flow"])
def test_two_devices_give_the_adapter_of_one(tiny: Path, tmp_path: Path, run: Run, objective: str) -> None:
    script = tmp_path / "on_two.py"
    out, work = tmp_path / "out", tmp_path / "work"
    here = str(Path(__file__).parent)
    script.write_text(ON_TWO.format(tests=here, tiny=str(tiny), out=str(out), work=str(work), name=objective))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        launcher, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    alone = run(random_examples(16), LORA.but(objective=objective))
    assert_same_adapter(out, alone, tolerance=1e-5)
    one, other = (pd.read_parquet(folder / "training.parquet") for folder in (out, alone))
    pd.testing.assert_frame_equal(
        one.drop(columns="tokens_per_second"), other.drop(columns="tokens_per_second"), rtol=1e-5
    )


def test_a_real_model_learns_one_batch_by_heart(smollm2: Path, tmp_path: Path) -> None:
    chat = load_chat_format(smollm2, "template")
    answers = ["Blue.", "It is a small town by the sea.", "Seven of them, I think.", "No."]
    made = [
        example(chat, [{"role": "user", "content": f"Question {i}?"}], answer, finished=True, max_length=128)
        for i, answer in enumerate(answers * 2)
    ]
    examples = [one for one in made if one is not None]
    training = Training(learning_rate=1e-3, batch_size=8, epochs=6, warmup_ratio=0)
    StudentTrainer(smollm2).train(examples, training, tmp_path / "out", tmp_path / "work", device_batch=4)
    curve = pd.read_parquet(tmp_path / "out" / "training.parquet")
    assert curve["nll"].is_monotonic_decreasing
    assert curve["nll"].iloc[-1] < 0.5 * curve["nll"].iloc[0]
    assert (curve["tokens"] == sum(len(one.input_ids) for one in examples)).all()
    assert (curve["tokens_per_second"] > 1).all()
    merge(smollm2, tmp_path / "out", tmp_path / "merged")
    assert {file.name for file in smollm2.glob("*.json")} <= {file.name for file in (tmp_path / "merged").iterdir()}
