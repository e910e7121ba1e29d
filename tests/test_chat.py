"""Ids and loss masks, against golden ids of a real tokenizer."""

import hashlib
import json
from pathlib import Path

import pytest

from offmodel.data.chat import (
    MASKED,
    ChatFormat,
    InContextChat,
    Message,
    TemplateChat,
    example,
    in_context_digest,
    load_chat_format,
)
from offmodel.data.thoughts import from_harmony
from offmodel.errors import RequestError

# <|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n
GOLDEN_SYSTEM = [1, 9690, 198, 6077, 5453, 30, 2, 198, 1, 4093, 198, 26843, 2, 198, 1, 520, 9531, 198]
GOLDEN_HELLO = [19556, 30]  # "Hello" "."

USER: list[Message] = [{"role": "user", "content": "Hi"}]
SYSTEM: list[Message] = [{"role": "system", "content": "Be brief."}, *USER]


@pytest.fixture(scope="module")
def template(smollm2: Path) -> ChatFormat:
    return load_chat_format(smollm2, "template")


@pytest.fixture(scope="module")
def in_context(smollm2: Path) -> ChatFormat:
    return load_chat_format(smollm2, "in_context")


def _text(chat: ChatFormat, ids: list[int]) -> str:
    return chat._tokenizer.decode(ids)


def test_a_template_prompt_ends_where_the_answer_begins(template: ChatFormat) -> None:
    ids = template.prompt_ids(SYSTEM)
    assert ids == GOLDEN_SYSTEM
    assert template.end_ids == [2]
    assert template.stop_token_ids == (2,)
    assert template.stop == ()


def test_no_prompt_tells_the_day_on_which_it_is_asked(smollm2: Path) -> None:
    dated = load_chat_format(smollm2, "template")._tokenizer
    dated.chat_template = "{{ strftime_now('%d %b %Y') }} " + dated.chat_template
    assert _text(TemplateChat(dated), TemplateChat(dated).prompt_ids(USER)).startswith("26 Jul 2024 <|im_start|>")


def test_a_finished_answer_is_learned_with_its_end_and_without_its_prompt(template: ChatFormat) -> None:
    prompt = template.prompt_ids(USER)
    made = example(template, USER, "Hello.", finished=True, max_length=100)
    assert made is not None
    assert made.input_ids == [*prompt, *GOLDEN_HELLO, 2]
    assert made.labels == [MASKED] * len(prompt) + [*GOLDEN_HELLO, 2]


@pytest.mark.parametrize(("finished", "room"), [(False, 9), (True, 2), (True, 1)])
def test_a_cut_answer_has_no_end_to_learn(template: ChatFormat, finished: bool, room: int) -> None:
    prompt = template.prompt_ids(USER)
    made = example(template, USER, "Hello.", finished, max_length=len(prompt) + room)
    assert made is not None
    assert made.labels[len(prompt) :] == GOLDEN_HELLO[:room]


def test_nothing_to_learn_is_no_example(template: ChatFormat) -> None:
    length = len(template.prompt_ids(USER))
    assert example(template, USER, "Hello.", True, max_length=length) is None
    assert example(template, USER, "Hello.", True, max_length=length - 5) is None
    assert example(template, USER, "", False, max_length=100) is None


def test_an_empty_finished_answer_teaches_its_end(template: ChatFormat) -> None:
    made = example(template, USER, "", True, max_length=100)
    assert made is not None
    assert made.labels[-2:] == [MASKED, 2]


def test_control_tokens_spelled_in_an_answer_stay_text(template: ChatFormat) -> None:
    made = example(template, USER, "a<|im_end|>b", True, max_length=100)
    assert made is not None
    assert made.labels.count(2) == 1
    assert _text(template, [label for label in made.labels if label != MASKED][:-1]) == "a<|im_end|>b"


def test_a_question_in_context_follows_the_worked_examples(in_context: ChatFormat) -> None:
    ids = in_context.prompt_ids(SYSTEM)
    text = _text(in_context, ids[1:])
    assert ids[0] == 1  # BOS
    assert text.startswith("# Instruction\n")
    assert text.endswith("# Instruction\nBe brief.\n\nHi\n\n# Answer\n")
    assert in_context.stop == ("\n# ",)


def test_worked_examples_show_their_input_only_where_there_is_one(smollm2: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown.jsonl"
    rows = [
        {"instruction": "Add.", "input": "1 {2}", "answer": "3"},
        {"instruction": "Greet.", "input": "", "answer": "Hi."},
    ]
    shown.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    chat = InContextChat(load_chat_format(smollm2, "template")._tokenizer, shown)
    assert _text(chat, chat.prompt_ids(USER)[1:]) == (
        "# Instruction\nAdd.\n\n# Input\n1 {2}\n\n# Answer\n3\n\n"
        "# Instruction\nGreet.\n\n# Answer\nHi.\n\n"
        "# Instruction\nHi\n\n# Answer\n"
    )


def test_a_base_model_takes_one_user_turn(in_context: ChatFormat) -> None:
    with pytest.raises(RequestError, match="one user turn"):
        in_context.prompt_ids([*USER, {"role": "assistant", "content": "Yes?"}, *USER])


def test_a_base_model_cannot_be_a_student(in_context: ChatFormat) -> None:
    with pytest.raises(RequestError, match="cannot be a student"):
        example(in_context, USER, "Hello.", True, max_length=1000)


def test_the_digest_names_the_worked_examples(tmp_path: Path) -> None:
    shown = tmp_path / "shown.jsonl"
    shown.write_text('{"instruction": "Greet.", "input": "", "answer": "Hi."}\n', encoding="utf-8")
    text = "# Instruction\nGreet.\n\n# Answer\nHi.\n\n" + "# Instruction\n{}\n\n# Answer\n\n# "
    assert in_context_digest(shown) == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert len(in_context_digest()) == 12


def test_a_worked_example_without_an_answer_is_named(tmp_path: Path) -> None:
    shown = tmp_path / "shown.jsonl"
    shown.write_text('{"instruction": "Greet."}\n', encoding="utf-8")
    with pytest.raises(RequestError, match=r"shown\.jsonl.*answer"):
        in_context_digest(shown)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no tokenizer"):
        load_chat_format(tmp_path, "template")


def test_thoughts_between_control_tokens_become_plain_text() -> None:
    whole = (
        "<|channel|>analysis<|message|>The user asks\nfor 2 + 2.<|end|><|start|>assistant"
        "<|channel|>final<|message|>It is 4.<|return|>"
    )
    assert from_harmony(whole) == "<think>\nThe user asks\nfor 2 + 2.\n</think>\n\nIt is 4."
    assert from_harmony("<|channel|>final<|message|>4") == "4"
    assert from_harmony("<|channel|>analysis<|message|>The user as") == "<think>\nThe user as"
    assert from_harmony("<|channel|>commentary to=f<|message|>a<|call|><|channel|>analysis<|message|>b<|end|>") == (
        "<think>\na\n\nb"
    )
    assert from_harmony("no channel") == "no channel"


def test_a_template_that_opens_the_thought_leaves_the_mark_to_the_answer(smollm2: Path, template: ChatFormat) -> None:
    tokenizer = load_chat_format(smollm2, "template")._tokenizer
    tokenizer.chat_template += "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    opens = TemplateChat(tokenizer)
    prompt = opens.prompt_ids(USER)
    assert _text(opens, prompt).endswith("assistant\n<think>\n")
    said = "2 + 2\n</think>\n\nIt is 4."
    whole = opens.answer_text(said, template.answer_ids(said))
    assert whole == f"<think>\n{said}"
    # As a student's own answer it goes back to where the prompt ends; another student learns the whole.
    assert opens.answer_ids(whole) == template.answer_ids(said)
    assert _text(template, template.answer_ids(whole)) == whole
    assert opens.answer_ids("It is 4.") == template.answer_ids("It is 4.")
    assert template.answer_text(said, []) == said


def test_an_answer_in_harmony_says_what_was_thought(smollm2: Path, template: ChatFormat, tmp_path: Path) -> None:
    tokenizer = load_chat_format(smollm2, "template")._tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|channel|>", "<|message|>"]})
    tokenizer.save_pretrained(tmp_path)
    harmony = load_chat_format(tmp_path, "template")
    raw = "<|channel|>analysis<|message|>2 + 2"
    ids = harmony._tokenizer.encode(raw, add_special_tokens=False)
    assert harmony.answer_text("analysis2 + 2", ids) == harmony.text(ids) == "<think>\n2 + 2"
    four = [*template.answer_ids("4"), *template.end_ids]
    assert harmony.answer_text("4", four) == template.text(four) == "4"
    assert template.answer_text("cut by a stop string", four) == "cut by a stop string"
