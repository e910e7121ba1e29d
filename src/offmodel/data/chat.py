"""From messages to token ids: a model's own chat template, or worked examples in context for a base model.

Ids and loss masks are built once, here, so that every objective and every engine sees the same tokens.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

from offmodel.data.jsonl import read_jsonl
from offmodel.data.thoughts import CHANNEL, OPENED, from_harmony, reopened, unopened
from offmodel.errors import RequestError
from offmodel.paths import PROMPTS
from offmodel.values import Framing

WORKED_EXAMPLES: Final = PROMPTS / "worked_examples.jsonl"
MASKED: Final = -100
"""The label of a position that is not learned (the ignore index of the field's loss functions)."""

_INSTRUCTION, _INPUT, _ANSWER = "# Instruction\n{}\n\n", "# Input\n{}\n\n", "# Answer\n"
_NEXT_HEADING = "\n# "


class Message(TypedDict):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


def framed(messages: Sequence[Message], framing: Framing | None) -> list[Message]:
    """The chat with a framing around it: its system message first, its suffix after the last user turn."""
    if framing is None:
        return list(messages)
    chat: list[Message] = [{**message} for message in messages]
    if framing.suffix:
        asked = next(message for message in reversed(chat) if message["role"] == "user")
        asked["content"] = f"{asked['content']}\n\n{framing.suffix}"
    if framing.system:
        own = [message["content"] for message in chat if message["role"] == "system"]
        system = "\n\n".join([framing.system, *own])
        chat = [{"role": "system", "content": system}, *[one for one in chat if one["role"] != "system"]]
    return chat


class ChatFormat(ABC):
    """How a model is asked, and how the end of its answer is known.

    Attributes:
        end_ids: ids that follow a finished answer and are learned with it.
        stop: texts at which generation stops; they are not part of the answer.
        stop_token_ids: ids at which generation stops.
    """

    end_ids: list[int]
    stop: tuple[str, ...]
    stop_token_ids: tuple[int, ...]

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @abstractmethod
    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The ids after which the model's answer begins."""

    def answer_ids(self, answer: str) -> list[int]:
        """The answer's own ids. Text that spells a control token stays text: answers are another model's words."""
        return self._tokenizer.encode(answer, add_special_tokens=False, split_special_tokens=True)

    def text(self, ids: Sequence[int]) -> str:
        """What ids say, control tokens left out."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def answer_text(self, text: str, ids: Sequence[int]) -> str:
        """What an answer says: the engine's text of it, which stop strings have cut, or what its ids add to that."""
        return text


class TemplateChat(ChatFormat):
    """The chat template that comes with an instruction-tuned model."""

    def __init__(self, tokenizer: Any, options: Mapping[str, bool | str] | None = None) -> None:
        super().__init__(tokenizer)
        self._options = {"strftime_now": _on_one_day, **(options or {})}
        self.end_ids = [self._end_of_turn()]
        self.stop = ()
        self.stop_token_ids = tuple(dict.fromkeys([*self.end_ids, tokenizer.eos_token_id]))
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": "?"}], add_generation_prompt=True, tokenize=False, **self._options
        )
        self._opens_thought = asked.rstrip().endswith(OPENED)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return self._tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=False, **self._options
        )

    def answer_ids(self, answer: str) -> list[int]:
        return super().answer_ids(unopened(answer) if self._opens_thought else answer)

    def answer_text(self, text: str, ids: Sequence[int]) -> str:
        return reopened(text) if self._opens_thought else text

    def _end_of_turn(self) -> int:
        # Read from the template, not from eos_token: in several families the two differ.
        marker = "offmodel-answer"
        chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": marker}]
        after = self._tokenizer.apply_chat_template(chat, tokenize=False, **self._options).rpartition(marker)[2]
        ids = self._tokenizer.encode(after, add_special_tokens=False)
        return ids[0] if ids and ids[0] in self._tokenizer.added_tokens_decoder else self._tokenizer.eos_token_id


class HarmonyChat(TemplateChat):
    """A template whose answers mark thoughts by control tokens; their text has plain marks (`data.thoughts`)."""

    def text(self, ids: Sequence[int]) -> str:
        raw = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return from_harmony(raw) if CHANNEL in raw else super().text(ids)

    def answer_text(self, text: str, ids: Sequence[int]) -> str:
        return self.text(ids)


def _on_one_day(form: str) -> str:
    """What templates that tell the model today's date are told: students are trained and asked on one and the same day.
    It is the day that Llama 3.2's own template falls back on."""
    return datetime(2024, 7, 26).strftime(form)


class InContextChat(ChatFormat):
    """Worked examples and an open heading, for a base model that was never taught turns."""

    def __init__(self, tokenizer: Any, examples: Path = WORKED_EXAMPLES) -> None:
        super().__init__(tokenizer)
        self.end_ids = [tokenizer.eos_token_id]
        self.stop = (_NEXT_HEADING,)
        self.stop_token_ids = (tokenizer.eos_token_id,)
        self._shown = "".join(_worked(row, examples) for row in read_jsonl(examples))

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The worked examples, then the one user turn; a system message is the first paragraph of its instruction.

        Raises:
            RequestError: the chat is not an optional system message and one user turn.
        """
        roles = [message["role"] for message in messages]
        if roles not in (["user"], ["system", "user"]):
            raise RequestError(
                f"a base model asked in context takes an optional system message and one user turn, not {roles}; "
                "use a model with a chat template for longer chats"
            )
        question = "\n\n".join(message["content"] for message in messages)
        text = self._shown + _INSTRUCTION.format(question) + _ANSWER
        bos = self._tokenizer.bos_token_id
        return [*([] if bos is None else [bos]), *self._tokenizer.encode(text, add_special_tokens=False)]


def _worked(row: dict[str, Any], path: Path) -> str:
    missing = {"instruction", "answer"} - row.keys()
    if missing:
        raise RequestError(f"{path}: a worked example lacks {sorted(missing)}; each row has instruction, input, answer")
    given = _INPUT.format(row["input"]) if row.get("input") else ""
    return _INSTRUCTION.format(row["instruction"]) + given + _ANSWER + row["answer"] + "\n\n"


def in_context_digest(examples: Path = WORKED_EXAMPLES) -> str:
    """12 hex digits that name the worked examples and their layout: part of what a model asked in context is."""
    layout = "".join(_worked(row, examples) for row in read_jsonl(examples)) + _INSTRUCTION + _ANSWER + _NEXT_HEADING
    return hashlib.sha256(layout.encode()).hexdigest()[:12]


def load_chat_format(
    folder: Path,
    style: Literal["template", "in_context"],
    options: Mapping[str, bool | str] | None = None,
) -> ChatFormat:
    """The chat format of a model folder, from its tokenizer; `options` are passed to its template.

    Raises:
        RequestError: the folder has no tokenizer, or `template` is asked of a tokenizer that has none.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise RequestError(f"no tokenizer in {folder}: {str(error).splitlines()[0]}") from error
    if style == "in_context":
        return InContextChat(tokenizer)
    if not getattr(tokenizer, "chat_template", None):
        raise RequestError(f"{folder} has no chat template; give this model the chat style in_context")
    return (HarmonyChat if CHANNEL in tokenizer.get_added_vocab() else TemplateChat)(tokenizer, options)


@dataclass(frozen=True)
class Example:
    """One prompt with its answer. `input_ids` and `labels` have one length; labels are `MASKED` on the prompt."""

    input_ids: list[int]
    labels: list[int]

    def cut(self, max_length: int) -> "Example":
        return Example(self.input_ids[:max_length], self.labels[:max_length])


def example(
    chat: ChatFormat, messages: Sequence[Message], answer: str, finished: bool, max_length: int
) -> Example | None:
    """Ids and labels of a prompt and its answer, at most `max_length` tokens; None when no token is left to learn.

    The answer is encoded apart from the prompt, so that the border between them is where generation put it. A finished
    answer is followed by the end of turn; one cut short, by its own limit or by `max_length`, has no end to learn.

    Raises:
        RequestError: the chat is asked in context, which has no turn to learn.
    """
    if isinstance(chat, InContextChat):
        raise RequestError("a base model that is asked in context cannot be a student; train one with a chat template")
    made = answered_example(chat, messages, answer, finished).cut(max_length)
    return made if any(label != MASKED for label in made.labels) else None


def answered_example(
    chat: ChatFormat, messages: Sequence[Message], answer: str, finished: bool, generated: Sequence[int] = ()
) -> Example:
    """Ids and labels of a prompt and its whole answer, the tokens in `generated` where they are known."""
    prompt = chat.prompt_ids(messages)
    encoded = chat.answer_ids(answer) + (chat.end_ids if finished else [])
    completion = [int(token) for token in generated] if len(generated) else encoded
    return Example(input_ids=prompt + completion, labels=[MASKED] * len(prompt) + completion)
