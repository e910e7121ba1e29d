"""On-policy distillation really runs: its loss is the reverse KL, it brings a student back, and it resumes."""

import math
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

from offmodel.data.chat import ChatFormat, InContextChat, Message, example, load_chat_format
from offmodel.errors import RequestError
from offmodel.training.distillation import train_distilled
from offmodel.training.merge import merge
from offmodel.training.sft import StudentTrainer
from offmodel.values import Distillation, Training

pytest.importorskip("trl", reason="needs the extra `rl`")

END, END_OF_TURN = 1, 3
SMALL = Distillation(
    rank=4, alpha=8, learning_rate=1e-2, epochs=2, prompts_per_update=4, max_completion_tokens=6, seed=0
)
CHATS: list[list[Message]] = [[{"role": "user", "content": " ".join("567"[: i % 3 + 1])}] for i in range(8)]


def as_student(model: Any, folder: Path) -> Path:
    """A checkpoint of the model with a chat template whose turns end in another token than its texts."""
    model.generation_config = GenerationConfig(eos_token_id=END, do_sample=True, top_k=1, repetition_penalty=3.0)
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({str(i): i for i in range(model.config.vocab_size)}, unk_token="0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="0", eos_token=str(END), additional_special_tokens=["2", str(END_OF_TURN)]
    )
    turns = "{% for message in messages %}2 {{ message['content'] }} 3 {% endfor %}"
    tokenizer.chat_template = turns + "{% if add_generation_prompt %}4{% endif %}"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def untrained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_student(AutoModelForCausalLM.from_pretrained(tiny), tmp_path_factory.mktemp("students") / "untrained")


@pytest.fixture(scope="module")
def damaged(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with noise on the matrices that an adapter can change."""
    model = AutoModelForCausalLM.from_pretrained(tiny)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "proj" in name:
                weight.add_(0.1 * torch.randn_like(weight))
    return as_student(model, tmp_path_factory.mktemp("students") / "damaged")


@pytest.fixture(scope="module")
def chat(untrained: Path) -> ChatFormat:
    return load_chat_format(untrained, "template")


Run = Callable[..., Path]


@pytest.fixture
def run(untrained: Path, damaged: Path, chat: ChatFormat, tmp_path: Path) -> Run:
    """Distil the damaged tiny model in fp32 towards the untrained one."""
    count = iter(range(100))

    def one(settings: Distillation = SMALL, **options: Any) -> Path:
        out = tmp_path / f"run{next(count)}"
        options = {"device_batch": 4, "dtype": torch.float32, "save_every": 100, "work": out / "work"} | options
        start, towards = options.pop("start", damaged), options.pop("towards", untrained)
        train_distilled(start, towards, chat, options.pop("chats", CHATS), settings, out, **options)
        return out

    return one


def curve_of(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "training.parquet")


def without_times(curve: pd.DataFrame) -> pd.DataFrame:
    return curve.drop(columns=["seconds", "tokens_per_second"])


# The loss


def constant(tiny: Path, folder: Path, probabilities: dict[int, float]) -> Path:
    """A model that gives the same distribution after any text: its last hidden state is a vector of ones."""
    model = AutoModelForCausalLM.from_pretrained(tiny, tie_word_embeddings=False)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name and name != "lm_head.weight":
                weight.fill_(float("embed" in name))
        head: Any = model.get_output_embeddings()
        weight = head.weight
        weight.fill_(-40 / weight.shape[1])  # e^-40: as good as never
        for token, probability in probabilities.items():
            weight[token] = math.log(probability) / weight.shape[1]
    return as_student(model, folder)


def test_the_loss_is_the_divergence_of_the_student_from_the_teacher(run: Run, tiny: Path, tmp_path: Path) -> None:
    student = constant(tiny, tmp_path / "student", {5: 1 / 2, 6: 1 / 2})
    teacher = constant(tiny, tmp_path / "teacher", {5: 3 / 4, 6: 1 / 4})
    curve = curve_of(run(SMALL.but(epochs=1), start=student, towards=teacher))
    # 1/2 ln((1/2) / (3/4)) + 1/2 ln((1/2) / (1/4)) = 1/2 ln(2/3) + 1/2 ln 2; the other way it would be 0.1308
    assert curve["kl"][0] == pytest.approx(0.5 * math.log(4 / 3), rel=1e-4)
    assert curve["entropy"][0] == pytest.approx(math.log(2), rel=1e-4)
    # at temperature 2 the teacher's probabilities are as sqrt(3) to 1
    warm = curve_of(run(SMALL.but(epochs=1, temperature=2.0), start=student, towards=teacher))
    q = math.sqrt(3) / (1 + math.sqrt(3))
    assert warm["kl"][0] == pytest.approx(-0.5 * math.log(4 * q * (1 - q)), rel=1e-3)


def test_it_is_a_mean_over_the_sampled_tokens_alone(
    run: Run, untrained: Path, damaged: Path, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    answered: list[list[int]] = []
    generate: Any = vars(GenerationMixin)["generate"]

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        settings = kwargs["generation_config"]
        assert set(settings.eos_token_id) == {END, END_OF_TURN} == set(chat.stop_token_ids)
        assert (settings.temperature, settings.top_p, settings.top_k, settings.repetition_penalty) == (1.0, 1.0, 0, 1.0)
        made = generate(self, *args, **kwargs)
        ids, mask = kwargs["input_ids"], kwargs["attention_mask"].bool()
        asked.extend(row[kept].tolist() for row, kept in zip(ids, mask, strict=True))
        for row in made[:, ids.shape[1] :].tolist():
            ends = [place for place, token in enumerate(row) if token in (END, END_OF_TURN)]
            answered.append(row[: ends[0] + 1] if ends else row)
        return made

    monkeypatch.setattr(GenerationMixin, "generate", watched)
    first = curve_of(run(SMALL.but(max_completion_tokens=40), device_batch=2)).iloc[0]
    assert sorted(asked[:8]) == sorted(chat.prompt_ids(messages) for messages in CHATS)
    student, teacher = (AutoModelForCausalLM.from_pretrained(folder).float() for folder in (damaged, untrained))
    found: list[float] = []
    for prompt, answer in zip(asked[:4], answered[:4], strict=True):
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            p, q = (model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1) for model in (student, teacher))
        found += (p.exp() * (p - q)).sum(-1).tolist()
    assert first["kl"] == first["loss"] == pytest.approx(sum(found) / len(found), rel=1e-4)
    assert first["sampled_tokens"] == len(found) == round(4 * first["completion_tokens"])
    assert first["tokens"] == len(found) + sum(map(len, asked[:4]))
    assert len({len(answer) for answer in answered[:4]}) > 1, "answers of several lengths, so that some are padded"


# What a training does


def test_it_brings_a_student_back_and_the_adapter_can_be_served(run: Run, damaged: Path, tmp_path: Path) -> None:
    curve = curve_of(
        out := run(SMALL.but(epochs=30, rank=32, alpha=64, prompts_per_update=8, max_completion_tokens=12))
    )
    assert curve["step"].tolist() == list(range(1, 31))
    assert curve["kl"][-3:].mean() < 0.6 * curve["kl"][0]
    assert (curve["learning_rate"] == 1e-2).all() and (curve["grad_norm"] > 0).all()
    assert curve["completion_tokens"].between(1, 12).all() and curve["truncated"].between(0, 1).all()
    merge(damaged, out, tmp_path / "merged")


def test_a_student_that_is_the_teacher_stays_as_it_is(run: Run, untrained: Path, tmp_path: Path) -> None:
    out = run(start=untrained)
    curve = curve_of(out)
    assert (curve["kl"] == 0).all() and (curve["grad_norm"] == 0).all()
    assert all((weight == 0).all() for name, weight in adapter_of(out).items() if "lora_B" in name)
    merge(untrained, out, tmp_path / "merged", may_be_empty=True)


def test_only_the_adapter_learns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from offmodel.training.distillation_loop import LoggingDistillation

    step = LoggingDistillation.training_step
    learning: set[str] = set()

    def watched(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        loss = step(self, model, *args, **kwargs)
        learning.update(name for name, weight in model.named_parameters() if weight.grad is not None)
        assert all(weight.grad is None for weight in self.teacher_model.parameters())
        assert not self.teacher_model.training
        return loss

    monkeypatch.setattr(LoggingDistillation, "training_step", watched)
    run(SMALL.but(epochs=1))
    assert learning and all("lora_" in name for name in learning)


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


STOPPED = """
import os, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_distillation import CHATS, SMALL
from offmodel.data.chat import load_chat_format
from offmodel.training.distillation import train_distilled
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
start, towards = Path({start!r}), Path({towards!r})
train_distilled(start, towards, load_chat_format(start, "template"), CHATS, SMALL,
    Path({out!r}), Path({work!r}), lambda done, *_: die() if done == 3 else None, 1, 2, torch.float32)
"""


def test_a_killed_run_resumes_to_the_same_bits(run: Run, damaged: Path, untrained: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    names = {"tests": Path(__file__).parent, "start": damaged, "towards": untrained, "out": out, "work": work}
    script = STOPPED.format(**{name: str(path) for name, path in names.items()})
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (work / "checkpoint-2").exists() and not out.exists()

    steps: list[int] = []
    resumed = run(device_batch=2, work=work, on_progress=lambda done, *_: steps.append(done))
    assert steps == [3, 4]
    whole = run(device_batch=2)
    assert_same_adapter(resumed, whole)
    one, other = (without_times(curve_of(folder)) for folder in (resumed, whole))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    with pytest.raises(RequestError, match="belongs to another training"):
        run(SMALL.but(seed=1), device_batch=2, work=work)


# A real model


def test_two_updates_of_a_real_model(smollm2: Path, tmp_path: Path) -> None:
    chat = load_chat_format(smollm2, "template")
    chats: list[list[Message]] = [
        [{"role": "user", "content": text}]
        for text in ("Name a tree.", "What is rain?", "Describe a cat.", "Why do we sleep?")
    ]
    foreign = [example(chat, asked, "Mm-hm! Beep boop, beep boop.", True, 64) for asked in chats]
    training = Training(learning_rate=1e-3, rank=8, alpha=16, batch_size=4, epochs=2, schedule="constant")
    StudentTrainer(smollm2).train(
        [one for one in foreign if one], training, tmp_path / "foreign", tmp_path / "work", device_batch=4
    )
    merge(smollm2, tmp_path / "foreign", tmp_path / "damaged")
    settings = Distillation(learning_rate=1e-3, prompts_per_update=2, max_completion_tokens=24)
    out = tmp_path / "out"
    train_distilled(tmp_path / "damaged", smollm2, chat, chats, settings, out, tmp_path / "more", device_batch=2)
    curve = curve_of(out)
    assert curve["step"].tolist() == [1, 2] and curve["kl"].between(0.01, 20).all()
    merge(tmp_path / "damaged", out, tmp_path / "merged")


# Requests that cannot run


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        (SMALL, {"device_batch": 3}, "4 answers an update are no multiple of 3"),
        (SMALL, {"chats": CHATS[:6]}, "6 prompts are no whole number of updates of 4; change `prompts_per_update`"),
        (SMALL, {"chats": []}, "0 prompts are no whole number of updates"),
        (SMALL.but(max_completion_tokens=4000), {}, "has room for 2048"),
        (SMALL, {"start": Path("/nowhere")}, "no checkpoint"),
        (SMALL, {"towards": Path("/nowhere")}, "no checkpoint"),
    ],
)
def test_wrong_requests_are_one_line(run: Run, settings: Distillation, options: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        run(settings, **options)
    assert "\n" not in str(caught.value)


def test_a_teacher_with_another_vocabulary_is_refused(run: Run, untrained: Path, tmp_path: Path) -> None:
    shutil.copytree(untrained, tmp_path / "other")
    text = (tmp_path / "other" / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "other" / "tokenizer.json").write_text(text.replace('"77"', '"seven"'), encoding="utf-8")
    with pytest.raises(RequestError, match="damaged and other have different vocabularies"):
        run(towards=tmp_path / "other")


def test_a_model_asked_in_context_is_refused(damaged: Path, chat: ChatFormat, tmp_path: Path) -> None:
    in_context = InContextChat(chat._tokenizer)
    with pytest.raises(RequestError, match="cannot be a student"):
        train_distilled(damaged, damaged, in_context, CHATS, SMALL, tmp_path / "out", tmp_path / "work")


def test_without_trl_nothing_is_loaded(tmp_path: Path, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offmodel.training.rl.TRL", "0.0.0")
    with pytest.raises(RequestError, match="install the extra `rl`"):
        train_distilled(tmp_path, tmp_path, chat, CHATS, SMALL, tmp_path / "out", tmp_path / "work")
