"""A tiny random model and trainings of it, for every test of training and merging."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from offmodel.data.chat import MASKED, Example
from offmodel.training.sft import StudentTrainer
from offmodel.values import Training

LORA = Training(learning_rate=1e-2, rank=4, alpha=8, batch_size=4, warmup_ratio=0, schedule="constant")
VOCABULARY = 128


def random_examples(n: int = 16, seed: int = 0) -> list[Example]:
    """Prompts of 1 to 5 tokens, completions of 1 to 20."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        prompt, completion = (draw.integers(VOCABULARY, size=draw.integers(1, most)).tolist() for most in (6, 21))
        made.append(Example(prompt + completion, [MASKED] * len(prompt) + completion))
    return made


def adapter_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def assert_same_adapter(one: Path, other: Path, tolerance: float = 0.0) -> None:
    a, b = adapter_of(one), adapter_of(other)
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({str(i): i for i in range(VOCABULARY)}, unk_token="0"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="0").save_pretrained(folder)
    return folder


Run = Callable[..., Path]


@pytest.fixture
def run(tiny: Path, tmp_path: Path) -> Run:
    """Train on the tiny model in fp32 with a trainer of its own; returns the folder of the student."""
    count = iter(range(100))

    def one(
        examples: Sequence[Example],
        training: Training = LORA,
        device_batch: int = 4,
        gradient_checkpointing: bool = False,
    ) -> Path:
        out = tmp_path / f"run{next(count)}"
        StudentTrainer(tiny, torch.float32).train(
            *(examples, training, out, out / "work"),
            save_every=100,
            device_batch=device_batch,
            gradient_checkpointing=gradient_checkpointing,
        )
        return out

    return one
