"""GRPO really runs on a tiny random model: it moves a reward, resumes to the same bits, and refuses what cannot run."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tiny_student import adapter_of, assert_same_adapter
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GenerationConfig, GenerationMixin, PreTrainedTokenizerFast

from offmodel.data.chat import ChatFormat, InContextChat, load_chat_format
from offmodel.data.problems import Problem
from offmodel.errors import RequestError, RunError
from offmodel.training import rewards
from offmodel.training.grpo import train_grpo
from offmodel.training.merge import merge
from offmodel.training.on_policy import order_of_prompts
from offmodel.values import RL

pytest.importorskip("trl", reason="needs the extra `rl`")

END, END_OF_TURN = 1, 3
SMALL = RL(
    rank=4,
    alpha=8,
    learning_rate=1e-2,
    updates=3,
    prompts_per_update=2,
    group=4,
    max_completion_tokens=6,
    reward="format",
)
PROBLEMS = [Problem(f"p{i}", [{"role": "user", "content": " ".join("567"[: i % 3 + 1])}], "7", "") for i in range(6)]


def small_words(completion: str, answer: str) -> float:
    """Share of words below 64: half for a random model, and easy to raise."""
    words = completion.split()
    return sum(int(word) < 64 for word in words) / len(words) if words else 0.0


@pytest.fixture(scope="module")
def student(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a chat template whose turns end in another token than its texts."""
    folder = tmp_path_factory.mktemp("student")
    for file in tiny.iterdir():
        shutil.copyfile(file, folder / file.name)
    words = Tokenizer(models.WordLevel({str(i): i for i in range(128)}, unk_token="0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="0", eos_token=str(END), additional_special_tokens=["2", str(END_OF_TURN)]
    )
    turns = "{% for message in messages %}2 {{ message['content'] }} 3 {% endfor %}"
    tokenizer.chat_template = turns + "{% if add_generation_prompt %}4{% endif %}"
    tokenizer.save_pretrained(folder)
    GenerationConfig(eos_token_id=END, do_sample=True, top_k=1, repetition_penalty=3.0).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chat(student: Path) -> ChatFormat:
    return load_chat_format(student, "template")


Run = Callable[..., Path]


@pytest.fixture
def run(student: Path, chat: ChatFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Reinforce the tiny model in fp32 for `small_words`, which takes the place of a reward."""
    monkeypatch.setitem(rewards.REWARDS, "format", small_words)
    count = iter(range(100))

    def one(settings: RL = SMALL, **options: Any) -> Path:
        out = tmp_path / f"run{next(count)}"
        options = {"device_batch": 8, "dtype": torch.float32, "save_every": 100, "work": out / "work"} | options
        train_grpo(options.pop("start", student), chat, options.pop("problems", PROBLEMS), settings, out, **options)
        return out

    return one


def curve_of(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "training.parquet")


def without_times(curve: pd.DataFrame) -> pd.DataFrame:
    return curve.drop(columns=["seconds", "tokens_per_second"])


# What a training does


def test_a_few_updates_move_the_reward_and_the_adapter_can_be_served(run: Run, student: Path, tmp_path: Path) -> None:
    settings = SMALL.but(updates=20, group=16, max_completion_tokens=4, rank=16, alpha=32)
    curve = curve_of(out := run(settings))
    assert curve["step"].tolist() == list(range(1, 21))
    assert curve["reward"][:3].mean() < 0.6 < 0.8 < curve["reward"][-3:].mean()
    assert (curve["learning_rate"] == 1e-2).all() and (curve["checker_failures"] == 0).all()
    assert curve["kl"].isna().all()
    assert curve["completion_tokens"].between(1, 4).all() and curve["truncated"].between(0, 1).all()
    assert (curve["sampled_tokens"] == (curve["completion_tokens"] * 32).round()).all()
    assert (curve["tokens"] > curve["sampled_tokens"]).all() and (curve["tokens_per_second"] > 0).all()
    merge(student, out, tmp_path / "merged")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype == torch.bfloat16


def test_the_seed_decides_and_the_device_batch_does_not(run: Run) -> None:
    one = run()
    assert_same_adapter(one, run())
    parts = run(device_batch=2)
    assert_same_adapter(one, parts, tolerance=1e-5)
    # the entropy is a mean over micro-batches, of which there are others
    one_curve, other_curve = (without_times(curve_of(out)).drop(columns="entropy") for out in (one, parts))
    pd.testing.assert_frame_equal(one_curve, other_curve, rtol=1e-4, atol=1e-6)
    with pytest.raises(AssertionError):
        assert_same_adapter(one, run(SMALL.but(seed=1)))


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo"])
def test_the_other_losses_and_the_kl_term_run(run: Run, loss: str) -> None:
    curve = curve_of(out := run(SMALL.but(loss=loss, beta=0.1)))
    assert curve["kl"][0] == pytest.approx(0, abs=1e-6) and curve["kl"][2] > 0
    assert all(weight.isfinite().all() for weight in adapter_of(out).values())


def test_snapshots_are_the_ends_of_shorter_runs(run: Run) -> None:
    long = run(SMALL.but(snapshots=(1, 2)))
    short = run(SMALL.but(updates=2))
    assert_same_adapter(long / "snapshot-2", short)
    with pytest.raises(AssertionError):
        assert_same_adapter(long / "snapshot-1", short)
    assert_same_adapter(run(), long)


def test_prompts_are_the_chat_format_s_own_ids_and_its_ends_end_an_answer(
    run: Run, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    sampled: list[list[int]] = []
    generate: Any = vars(GenerationMixin)["generate"]

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        ids, mask = kwargs["input_ids"], kwargs["attention_mask"]
        asked.extend(row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True))
        settings = kwargs["generation_config"]
        assert set(settings.eos_token_id) == {END, END_OF_TURN} == set(chat.stop_token_ids)
        # the checkpoint's own top_k and repetition penalty would sample from another model than is trained
        assert (settings.temperature, settings.top_p, settings.top_k, settings.repetition_penalty) == (1.0, 1.0, 0, 1.0)
        made = generate(self, *args, **kwargs)
        sampled.extend(made[:, ids.shape[1] :].tolist())
        return made

    monkeypatch.setattr(GenerationMixin, "generate", watched)
    settings = SMALL.but(updates=8, group=8, max_completion_tokens=32, learning_rate=1e-6)
    out = run(settings)
    order = order_of_prompts(len(PROBLEMS), 8, 2, 0)
    assert asked == [chat.prompt_ids(PROBLEMS[index].messages) for index in order for _ in range(8)]
    ended = [any(end in row for end in (END, END_OF_TURN)) for row in sampled]
    assert any(END_OF_TURN in row for row in sampled)
    assert curve_of(out)["truncated"].mean() == pytest.approx(1 - sum(ended) / len(ended))


def test_problems_come_once_a_pass_and_never_twice_an_update() -> None:
    order = order_of_prompts(7, updates=6, per_update=3, seed=0)
    updates = [order[start : start + 3] for start in range(0, 18, 3)]
    assert all(len(set(update)) == 3 for update in updates)
    assert all(len({*updates[i], *updates[i + 1]}) == 6 for i in (0, 2, 4))
    assert order_of_prompts(7, 2, 3, 0) == order[:6] != order_of_prompts(7, 2, 3, 1)


# Stopped runs

STOPPED = """
import os, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_grpo import PROBLEMS, SMALL, small_words
from offmodel.data.chat import load_chat_format
from offmodel.training import rewards
from offmodel.training.grpo import train_grpo
rewards.REWARDS["format"] = small_words
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
student = Path({student!r})
train_grpo(student, load_chat_format(student, "template"), PROBLEMS, SMALL.but(updates=6, snapshots=(1, 5)),
    Path({out!r}), Path({work!r}), lambda done, *_: die() if done == 5 else None, 2, 4, torch.float32)
"""


def test_a_killed_run_resumes_to_the_same_bits(run: Run, student: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    script = STOPPED.format(tests=str(Path(__file__).parent), student=str(student), out=str(out), work=str(work))
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (work / "checkpoint-4").exists() and not out.exists()

    settings, steps = SMALL.but(updates=6, snapshots=(1, 5)), []
    resumed = run(settings, device_batch=4, save_every=2, work=work, on_progress=lambda done, *_: steps.append(done))
    assert steps == [5, 6]
    whole = run(settings, device_batch=4, save_every=2)
    assert_same_adapter(resumed, whole)
    for snapshot in ("snapshot-1", "snapshot-5"):
        assert_same_adapter(resumed / snapshot, whole / snapshot)
    one, other = (without_times(curve_of(folder)) for folder in (resumed, whole))
    pd.testing.assert_frame_equal(one, other, check_exact=True)

    with pytest.raises(RequestError, match="belongs to another training"):
        run(settings.but(seed=1), device_batch=4, work=work)


# Rewards that fail


def test_a_reward_that_fails_on_some_answers_is_counted_and_the_run_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moody(completion: str, answer: str) -> float:
        if not completion or int(completion.split()[0]) < 64:
            raise ValueError("not this one")
        return 1.0

    monkeypatch.setitem(rewards.REWARDS, "format", moody)
    curve = curve_of(run(SMALL.but(updates=2, group=8)))
    assert curve["checker_failures"].between(0, 1, inclusive="neither").all()
    assert (curve["reward"] == 1 - curve["checker_failures"]).all()


def test_a_reward_that_always_fails_is_one_line_and_nothing_is_lost(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(1000))

    def breaks(completion: str, answer: str) -> float:
        if next(calls) >= 16:
            raise KeyError("gone")
        return small_words(completion, answer)

    work = tmp_path / "work"
    with monkeypatch.context() as patch:
        patch.setitem(rewards.REWARDS, "format", breaks)
        with pytest.raises(
            RunError, match=r"failed on all 8 answers of update 3 \(the last: KeyError: 'gone'\)"
        ) as told:
            run(work=work, save_every=1)
    assert "\n" not in str(told.value)
    steps: list[int] = []
    resumed = run(work=work, save_every=1, on_progress=lambda done, *_: steps.append(done))
    assert steps == [3]
    assert_same_adapter(resumed, run())


def test_a_reward_that_hangs_is_cut(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(completion: str, answer: str) -> float:
        while True:
            pass

    monkeypatch.setitem(rewards.REWARDS, "format", hangs)
    monkeypatch.setattr(rewards, "judge", lambda *given, judge=rewards.judge: judge(*given, seconds=0.05))
    with pytest.raises(RunError, match=r"failed on all 8 answers of update 1 \(the last: not done after 0.05 s\)"):
        run()


# Requests that cannot run


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        (SMALL, {"device_batch": 3}, "no multiple of 3"),
        (SMALL, {"problems": PROBLEMS[:1]}, "asks 2 different problems and there are 1"),
        (SMALL.but(max_prompt_tokens=4), {}, "problem p1 takes 5 tokens; raise max_prompt_tokens"),
        (SMALL.but(max_completion_tokens=4000), {}, "has room for 2048"),
        (SMALL.but(reward="number"), {"problems": [Problem("x", [], "seven", "")] * 2}, "'seven' cannot be compared"),
        (SMALL, {"start": Path("nowhere")}, "no checkpoint"),
    ],
)
def test_wrong_requests_are_one_line(run: Run, settings: RL, options: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        run(settings, **options)
    assert "\n" not in str(caught.value)


def test_a_model_asked_in_context_is_refused(student: Path, chat: ChatFormat, tmp_path: Path) -> None:
    in_context = InContextChat(chat._tokenizer)
    with pytest.raises(RequestError, match="cannot be a student"):
        train_grpo(student, in_context, PROBLEMS, SMALL, tmp_path / "out", tmp_path / "work")


def test_without_trl_nothing_is_loaded(tmp_path: Path, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offmodel.training.rl.TRL", "0.0.0")
    with pytest.raises(RequestError, match="install the extra `rl`"):
        train_grpo(tmp_path / "nowhere", chat, PROBLEMS, SMALL, tmp_path / "out", tmp_path / "work")
