"""DPO really runs on a tiny random model and on SmolLM2: its loss by hand, the ids it sees, stopped runs."""

import math
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from peft import PeftModel
from tiny_student import assert_same_adapter, random_examples
from transformers import AutoModelForCausalLM

from offmodel.data.chat import MASKED, Example, example, load_chat_format
from offmodel.errors import RequestError, RunError
from offmodel.training.batches import order_of_examples
from offmodel.training.dpo import Pair, train_dpo
from offmodel.training.merge import merge
from offmodel.values import DPO

pytest.importorskip("trl", reason="needs the extra `rl`")

SMALL = DPO(rank=4, alpha=8, learning_rate=1e-2, batch_size=4, warmup_ratio=0, schedule="constant")


def random_pairs(n: int = 16) -> list[Pair]:
    """Two random completions of each random prompt."""
    pairs = []
    for chosen, other in zip(random_examples(n), random_examples(n, seed=1), strict=True):
        prompt = [token for token, label in zip(chosen.input_ids, chosen.labels, strict=True) if label == MASKED]
        rest = [label for label in other.labels if label != MASKED]
        pairs.append(Pair(chosen, Example(prompt + rest, [MASKED] * len(prompt) + rest)))
    return pairs


PAIRS = random_pairs()
Run = Callable[..., Path]


@pytest.fixture
def run(tiny: Path, tmp_path: Path) -> Run:
    """Train the tiny model in fp32."""
    count = iter(range(100))

    def one(settings: DPO = SMALL, pairs: Sequence[Pair] = PAIRS, **options: Any) -> Path:
        out = tmp_path / f"run{next(count)}"
        options = {"device_batch": 4, "dtype": torch.float32, "save_every": 100, "work": out / "work"} | options
        train_dpo(options.pop("start", tiny), pairs, settings, out, **options)
        return out

    return one


def curve_of(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "training.parquet")


def log_probability(model: Any, one: Example) -> float:
    """Of the learned tokens together, in nats."""
    with torch.no_grad():
        logits = model(torch.tensor([one.input_ids])).logits[0].log_softmax(-1)
    learned = [place for place, label in enumerate(one.labels) if label != MASKED]
    return sum(float(logits[place - 1, one.labels[place]]) for place in learned)


# What a training does


def test_the_loss_is_that_of_the_paper_by_hand(run: Run, tiny: Path) -> None:
    settings = SMALL.but(beta=0.3)
    curve = curve_of(out := run(settings, save_every=1))
    reference = AutoModelForCausalLM.from_pretrained(tiny)
    after = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), out / "work" / "checkpoint-3")
    order = order_of_examples([max(len(side.input_ids) for side in pair) for pair in PAIRS], 1, 4, 0)
    losses, right, margins = [], [], []
    for pair in (PAIRS[index] for index in order[12:]):  # the fourth step, before it is taken
        above = [log_probability(after, side) - log_probability(reference, side) for side in pair]
        delta = above[0] - above[1]
        losses.append(-math.log(1 / (1 + math.exp(-0.3 * delta))))
        right.append(delta > 0)
        margins.append(0.3 * delta)
    row = curve.iloc[3]
    assert row["loss"] == pytest.approx(sum(losses) / 4, rel=1e-4)
    assert row["margin"] == pytest.approx(sum(margins) / 4, rel=1e-3)
    assert row["reward_accuracy"] == sum(right) / 4
    assert curve["loss"][0] == pytest.approx(math.log(2)) and curve["margin"][0] == pytest.approx(0, abs=1e-5)
    assert (curve["chosen_reward"] - curve["rejected_reward"]).to_list() == pytest.approx(curve["margin"].to_list())


def test_it_learns_to_prefer_and_the_adapter_can_be_served(run: Run, tiny: Path, tmp_path: Path) -> None:
    curve = curve_of(out := run(SMALL.but(epochs=5)))
    assert curve["step"].to_list() == list(range(1, 21)) and curve["epoch"].iloc[-1] == 5
    assert curve["loss"].iloc[-4:].mean() < 0.5 < curve["loss"].iloc[0]
    assert curve["reward_accuracy"].iloc[-4:].mean() > 0.8
    assert curve["tokens"].sum() == 5 * sum(len(side.input_ids) for pair in PAIRS for side in pair)
    assert (curve["tokens_per_second"] > 0).all() and curve.notna().all(axis=None)
    merge(tiny, out, tmp_path / "merged")


def test_the_seed_decides_and_the_device_batch_does_not(run: Run) -> None:
    one = run()
    assert_same_adapter(one, run())
    assert_same_adapter(one, run(device_batch=2), tolerance=1e-5)
    with pytest.raises(AssertionError):
        assert_same_adapter(one, run(SMALL.but(seed=1)))


def test_a_last_step_may_be_smaller(run: Run) -> None:
    curve = curve_of(run(pairs=PAIRS[:6]))
    assert curve["epoch"].to_list() == pytest.approx([4 / 6, 1])


# Real ids and a real model


def test_two_steps_of_smollm2_on_the_ids_that_sft_learns(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl.trainer.dpo_trainer import DPOTrainer

    chat = load_chat_format(smollm2, "template")
    pairs = []
    for number in range(4):
        asked: Any = [{"role": "user", "content": f"Calculate {number} + 4."}]
        # a space that would merge across the border, a token's name as text, an answer that was cut
        told = [(f" {number + 4}<|im_end|>", True), ("5 or so, \n", False)]
        sides = [example(chat, asked, answer, finished, 64) for answer, finished in told]
        assert sides[0] and sides[1]
        pairs.append(Pair(sides[0], sides[1]))
    seen: list[tuple[list[int], list[int]]] = []
    loss: Any = vars(DPOTrainer)["_compute_loss"]

    def watched(self: Any, model: Any, inputs: Any, return_outputs: bool) -> Any:
        kept = inputs["attention_mask"].bool()
        for ids, labels, mask in zip(inputs["input_ids"], inputs["completion_mask"], kept, strict=True):
            learned = [token if on else MASKED for token, on in zip(ids[mask].tolist(), labels[mask], strict=True)]
            seen.append((ids[mask].tolist(), learned))
        return loss(self, model, inputs, return_outputs)

    monkeypatch.setattr(DPOTrainer, "_compute_loss", watched)
    settings = SMALL.but(batch_size=2, learning_rate=1e-3)
    train_dpo(smollm2, pairs, settings, tmp_path / "out", tmp_path / "work", device_batch=2)
    wanted = [(side.input_ids, side.labels) for pair in pairs for side in pair]
    assert sorted(seen) == sorted(wanted)
    curve = curve_of(tmp_path / "out")
    assert curve["loss"][0] == pytest.approx(math.log(2), abs=0.02) and curve["loss"][1] < curve["loss"][0]
    merge(smollm2, tmp_path / "out", tmp_path / "merged")


# Stopped runs

STOPPED = """
import os, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_dpo import PAIRS, SMALL
from offmodel.training.dpo import train_dpo
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
train_dpo(Path({start!r}), PAIRS, SMALL.but(epochs=1.5), Path({out!r}), Path({work!r}),
    lambda done, *_: die() if done == 5 else None, 2, 4, torch.float32)
"""


def test_a_killed_run_resumes_to_the_same_bits(run: Run, tiny: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    script = STOPPED.format(tests=str(Path(__file__).parent), start=str(tiny), out=str(out), work=str(work))
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (work / "checkpoint-4").exists() and not out.exists()

    settings, steps = SMALL.but(epochs=1.5), []
    resumed = run(settings, save_every=2, work=work, on_progress=lambda done, *_: steps.append(done))
    assert steps == [5, 6]
    whole = run(settings, save_every=2)
    assert_same_adapter(resumed, whole)
    one, other = (curve_of(folder).drop(columns="tokens_per_second") for folder in (resumed, whole))
    pd.testing.assert_frame_equal(one, other, check_exact=True)

    with pytest.raises(RequestError, match="belongs to another training"):
        run(settings.but(seed=1), work=work)


# Requests that cannot run


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device_batch": 3}, "no multiple of 3 pairs"),
        ({"pairs": []}, "no pair of answers"),
        ({"pairs": PAIRS[:4], "settings": SMALL.but(warmup_ratio=0.1)}, "one step, whose learning rate is 0"),
    ],
)
def test_wrong_requests_are_one_line(run: Run, options: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        run(**options)
    assert "\n" not in str(caught.value)


def test_a_training_that_diverges_is_one_line(run: Run) -> None:
    with pytest.raises(RunError, match=r"training diverged at step .*; lower learning_rate"):
        run(SMALL.but(learning_rate=0.99, beta=10, epochs=20, max_grad_norm=1e9, alpha=1e6))


def test_without_trl_nothing_is_loaded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offmodel.training.rl.TRL", "0.0.0")
    with pytest.raises(RequestError, match="install the extra `rl`"):
        run(start=Path("nowhere"))
