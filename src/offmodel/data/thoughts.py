"""What a reasoning model thought, as plain text and in one form: `<think>…</think>` and the answer, as most families
write it.

Three kinds of models do not write it so themselves. gpt-oss answers in OpenAI's Harmony format, whose marks are control
tokens that no other tokenizer knows: `<|channel|>analysis<|message|>…<|end|>` is what it thinks, and
`<|channel|>final<|message|>…` what it says. Some templates (DeepSeek-R1's, QwQ's) end the prompt in `<think>`, so that
the answer lacks it. And a server with a reasoning parser sends the thought apart from the answer.
"""

import re
from typing import Final

CHANNEL: Final = "<|channel|>"
OPENED: Final = "<think>"
_MESSAGE = re.compile(
    r"<\|channel\|>\s*(\w+).*?<\|message\|>(.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)", re.DOTALL
)


def from_harmony(raw: str) -> str:
    """An answer with its control tokens, in plain marks; a thought that the limit cut stays open.

    Text without a channel comes back as it is.
    """
    messages = [(channel, text.strip()) for channel, text in _MESSAGE.findall(raw)]
    if not messages:
        return raw
    thoughts = "\n\n".join(text for channel, text in messages if channel != "final")
    answer = "\n\n".join(text for channel, text in messages if channel == "final")
    return marked(thoughts, answer)


def marked(thoughts: str, answer: str) -> str:
    """Thoughts and answer as one text; thoughts without an answer, which a limit has cut, stay open."""
    if not thoughts:
        return answer
    return f"{OPENED}\n{thoughts}\n</think>\n\n{answer}" if answer else f"{OPENED}\n{thoughts}"


def reopened(text: str) -> str:
    """The answer to a prompt that ends in the opening mark, with that mark."""
    return f"{OPENED}\n{text.lstrip()}"


def unopened(text: str) -> str:
    """`reopened`, back."""
    return text.removeprefix(OPENED).lstrip() if text.startswith(OPENED) else text
