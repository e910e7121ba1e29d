"""The real engines on the real pocket student: they agree, swap weights, and repeat themselves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from offmodel.data.chat import ChatFormat, load_chat_format
from offmodel.engines.answering import stop_of
from offmodel.engines.base import Engine, Stop, answer_seed, open_engine
from offmodel.values import Decoding

QUESTIONS = [
    "What is the capital of France?",
    "Name three colours.",
    "What is 2 + 3?",
    "Write a short sentence about rain.",
]
GREEDY = Decoding(temperature=0, max_tokens=12)
SAMPLED = Decoding(temperature=1.0, max_tokens=12)

pytest.importorskip("vllm", reason="compares vLLM with transformers")


def silent(answers: int, tokens: int) -> None: ...


@pytest.fixture(scope="module")
def chat(smollm2: Path) -> ChatFormat:
    return load_chat_format(smollm2, "template")


@pytest.fixture(scope="module")
def prompts(chat: ChatFormat) -> list[list[int]]:
    return [chat.prompt_ids([{"role": "user", "content": question}]) for question in QUESTIONS]


@pytest.fixture(scope="module")
def vllm(smollm2: Path) -> Iterator[Engine]:
    yield open_engine("vllm", smollm2, 8, 2048, 0.9, False)


@pytest.fixture(scope="module")
def transformers(smollm2: Path) -> Engine:
    return open_engine("transformers", smollm2, 8, 2048, 0.9, False)


@pytest.fixture(scope="module")
def changed(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student with an adapter merged in that moves every layer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from offmodel.training.merge import merge

    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32),
        LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(str(folder / "adapter"))
    merge(smollm2, folder / "adapter", folder / "merged")
    return folder / "merged"


def answers(engine: Engine, prompts: list[list[int]], chat: ChatFormat, decoding: Decoding) -> list[str]:
    seeds = [answer_seed(0, str(i)) for i in range(len(prompts))]
    return [made.text for made in engine.generate(prompts, seeds, decoding, stop_of(chat), silent)]


def test_greedy_answers_begin_alike(vllm, transformers, prompts, chat) -> None:
    # bf16 rounds differently in each engine, so answers part after some tokens; their beginnings must not.
    first, second = (answers(engine, prompts, chat, GREEDY.but(max_tokens=3)) for engine in (vllm, transformers))
    assert first == second


def test_next_token_log_probabilities_agree(vllm, transformers, prompts, chat) -> None:
    letters = [chat.answer_ids(letter)[0] for letter in "ABCD"]
    first, second = (engine.next_logprobs(prompts, [letters] * len(prompts)) for engine in (vllm, transformers))
    for ours, theirs in zip(first, second, strict=True):
        assert ours == pytest.approx(theirs, abs=0.25)
        assert max(ours) < 0


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_samples_repeat_and_depend_on_their_seed(name, request, prompts, chat) -> None:
    engine: Engine = request.getfixturevalue(name)
    again = [answers(engine, prompts, chat, SAMPLED) for _ in range(2)]
    assert again[0] == again[1]
    other = engine.generate(prompts, [99] * len(prompts), SAMPLED, stop_of(chat), silent)
    assert [made.text for made in other] != again[0]


def test_a_sample_of_transformers_does_not_depend_on_the_batch(transformers, prompts, chat) -> None:
    one = SAMPLED.but(max_tokens=3)  # later tokens can part where rounding differs with the batch
    together = answers(transformers, prompts, chat, one)
    seeds = [answer_seed(0, str(i)) for i in range(len(prompts))]
    alone = [
        transformers.generate([p], [s], one, stop_of(chat), silent)[0].text for p, s in zip(prompts, seeds, strict=True)
    ]
    assert alone == together


def test_answers_after_a_failed_call_are_its_own(vllm, prompts, chat) -> None:
    before = answers(vllm, prompts, chat, GREEDY)

    def fail(answers: int, tokens: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vllm.generate(prompts[::-1], [0] * len(prompts), GREEDY, stop_of(chat), fail)
    assert answers(vllm, prompts, chat, GREEDY) == before


def test_an_adapter_changes_the_outputs_and_the_base_comes_back(vllm, smollm2, changed, prompts, chat) -> None:
    before = answers(vllm, prompts, chat, GREEDY)
    vllm.load(changed)
    moved = answers(vllm, prompts, chat, GREEDY)
    reference = open_engine("transformers", changed, 8, 2048, 0.9, False)
    expected = reference.next_logprobs(prompts, [[chat.answer_ids("A")[0]]] * len(prompts))
    found = vllm.next_logprobs(prompts, [[chat.answer_ids("A")[0]]] * len(prompts))
    vllm.load(smollm2)
    assert moved != before
    assert found == [pytest.approx(row, abs=0.25) for row in expected]
    assert answers(vllm, prompts, chat, GREEDY) == before


def test_an_answer_ends_at_its_limit_or_at_a_stop_text(vllm, transformers, prompts) -> None:
    for engine in (vllm, transformers):
        cut = engine.generate(prompts[:1], [0], GREEDY.but(max_tokens=2), Stop(), silent)[0]
        assert (cut.tokens, cut.finish_reason) == (2, "length")
        whole = engine.generate(prompts[:1], [0], GREEDY, Stop(), silent)[0].text
        stopped = engine.generate(prompts[:1], [0], GREEDY, Stop(strings=(whole[4:8],)), silent)[0]
        assert (stopped.text, stopped.finish_reason) == (whole[: whole.index(whole[4:8])], "stop")


def test_a_stop_text_that_prompt_and_answer_make_together_stops_nothing(vllm, transformers, prompts, chat) -> None:
    for engine in (vllm, transformers):
        first = engine.generate(prompts[:1], [0], GREEDY, Stop(), silent)[0]
        begun = [*prompts[0], *first.ids[:3]]
        rest = engine.generate([begun], [0], GREEDY, Stop(), silent)[0]
        border = chat.text(first.ids[2:3])[-2:] + rest.text[:2]
        assert border not in rest.text
        stopped = engine.generate([begun], [0], GREEDY, Stop(strings=(border,)), silent)[0]
        assert (stopped.text, stopped.ids) == (rest.text, rest.ids), engine.name


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_a_loop_is_written_out_as_it_would_have_been_computed(name, request, prompts, chat, monkeypatch) -> None:
    engine, whole = request.getfixturevalue(name), GREEDY.but(max_tokens=64)
    begun = [chat.answer_ids(("tick tock " * 20).strip()), prompts[1]]
    computed = engine.generate(begun, [0, 0], whole, Stop(), silent)
    monkeypatch.setattr(engine, "_fill_loops", True)
    told: list[int] = []
    made = engine.generate(begun, [0, 0], whole, Stop(), lambda answers, tokens: told.append(tokens))
    assert [(one.text, one.ids, one.tokens, one.finish_reason) for one in made] == [
        (one.text, one.ids, one.tokens, one.finish_reason) for one in computed
    ]
    assert made[0].finish_reason == "length" and made[0].filled == 64 - 36  # four rounds of nine tokens
    assert min(told) >= 0 and sum(told) == sum(one.tokens - one.filled for one in made)  # what was computed
    sampled = engine.generate(begun[:1], [0], whole.but(temperature=0.01), Stop(), silent)[0]
    assert sampled.filled == 0


def test_a_seed_belongs_to_its_prompt() -> None:
    assert answer_seed(0, "chat-001") == answer_seed(0, "chat-001")
    assert len({answer_seed(seed, key) for seed in (0, 1) for key in ("a", "b")}) == 4
