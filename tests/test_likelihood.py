"""Log-probabilities of given answers, against the logits of the model itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_student import random_examples
from transformers import AutoModelForCausalLM

from offmodel.data.chat import MASKED, Example, Message, answered_example, load_chat_format
from offmodel.errors import RequestError
from offmodel.evaluation.likelihood import Reader


def test_each_token_has_its_log_probability(tiny: Path) -> None:
    examples = [*random_examples(5), Example([3, 4, 5], [MASKED] * 3)]
    told: list[tuple[int, int]] = []
    read = Reader(tiny, torch.float32).logprobs(examples, 2, lambda *at: told.append(at))
    model = AutoModelForCausalLM.from_pretrained(tiny)
    for one, found in zip(examples, read, strict=True):
        with torch.no_grad():
            logp = model(torch.tensor([one.input_ids])).logits[0].log_softmax(-1)
        expected = [logp[t - 1, label].item() for t, label in enumerate(one.labels) if label != MASKED]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert read[-1].shape == (0,)
    assert (sum(n for n, _ in told), sum(n for _, n in told)) == (6, sum(len(one.input_ids) for one in examples))


def test_generated_tokens_are_read_as_they_are(smollm2: Path) -> None:
    chat = load_chat_format(smollm2, "template")
    messages: list[Message] = [{"role": "user", "content": "Hi"}]
    prompt = chat.prompt_ids(messages)
    encoded = answered_example(chat, messages, "Hello", finished=True)
    assert encoded.input_ids == [*prompt, *chat.answer_ids("Hello"), *chat.end_ids]
    assert answered_example(chat, messages, "Hello", finished=False).input_ids == [*prompt, *chat.answer_ids("Hello")]
    letters = [chat.answer_ids(letter)[0] for letter in "Hello"]
    generated = answered_example(chat, messages, "Hello", finished=True, generated=letters)
    assert generated.input_ids == prompt + letters
    assert generated.labels == [MASKED] * len(prompt) + letters


def test_an_example_is_cut_as_a_training_cuts_it() -> None:
    whole = Example([1, 2, 3, 4], [MASKED, MASKED, 3, 4])
    assert whole.cut(3) == Example([1, 2, 3], [MASKED, MASKED, 3])
    assert whole.cut(4) == whole.cut(9) == whole


def test_no_checkpoint_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no checkpoint of a causal model"):
        Reader(tmp_path, torch.float32)
