"""What a reasoning model thought, as plain text, where its marks are control tokens that no text keeps.

gpt-oss answers in OpenAI's Harmony format: `<|channel|>analysis<|message|>…<|end|>` is what it thinks, and
`<|channel|>final<|message|>…` what it says. Another model's tokenizer knows neither, so that a student is given the
form that most families write: `<think>…</think>` and the answer.
"""

import re
from typing import Final

CHANNEL: Final = "<|channel|>"
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
    if not thoughts:
        return answer
    return f"<think>\n{thoughts}\n</think>\n\n{answer}" if answer else f"<think>\n{thoughts}"
