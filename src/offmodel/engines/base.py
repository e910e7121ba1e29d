"""What an engine does for us, whoever implements it. Token ids go in; no engine applies a chat template."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from offmodel.values import Decoding


@dataclass(frozen=True)
class Stop:
    """What ends an answer: special tokens (learned ends of a turn) or text, which is cut off."""

    token_ids: tuple[int, ...] = ()
    strings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Generation:
    """One answer. `tokens` counts what was generated, the end token included; `length` means cut by the limit.

    `ids` are those tokens themselves; empty where a provider does not tell them. The last `filled` of them were not
    computed but written out (`engines.loops`).
    """

    text: str
    tokens: int
    finish_reason: Literal["stop", "length"]
    ids: tuple[int, ...] = ()
    filled: int = 0

    @classmethod
    def of_json(cls, entry: dict[str, Any]) -> Self:
        """Back from JSON, which has no tuples."""
        return cls(**{**entry, "ids": tuple(entry["ids"])})


# Called with (finished answers, generated tokens, those of unfinished answers too) since the last call.
OnProgress = Callable[[int, int], None]


class Engine(Protocol):
    """Serves all checkpoints of one architecture in turn; the weights are swapped in place.

    `context` is what it has room for, prompt and answer together, in tokens; None where it takes what comes.
    """

    name: str
    context: int | None

    def load(self, folder: Path) -> None:
        """Serve another full checkpoint of the same architecture from now on."""
        ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        decoding: Decoding,
        stop: Stop,
        on_progress: OnProgress,
    ) -> list[Generation]:
        """One answer to each prompt (token ids). The seed of each prompt decides its sampling, whatever the batch; only
        the rounding of a batch's matrix products can still turn a close choice."""
        ...

    def next_logprobs(self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> list[list[float]]:
        """For each prompt, log p(candidate | prompt) of each candidate next token, in nats, over the vocabulary."""
        ...


def answer_seed(seed: int, key: str) -> int:
    """The sampling seed of one answer, from the study's seed and the prompt's key: independent of batch and order."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:4], "big")


def open_engine(
    name: str, folder: Path, max_num_seqs: int, context: int, gpu_memory: float, fill_loops: bool
) -> Engine:
    """Start an engine on a checkpoint folder; imports the engine's packages here, in the process that needs them.

    Args:
        name: `vllm` or `transformers`.
        folder: a checkpoint with safetensors weights.
        max_num_seqs: answers that are worked on at once.
        context: prompt and answer together, in tokens, that vLLM makes room for; a model may have less. transformers
            takes what comes.
        gpu_memory: the share of a GPU's memory that vLLM takes.
        fill_loops: write the rest of a greedy answer that ends in a loop instead of computing it.
    """
    if name == "vllm":
        from offmodel.engines.vllm_engine import VllmEngine

        return VllmEngine(folder, max_num_seqs, context, gpu_memory, fill_loops)
    from offmodel.engines.transformers_engine import TransformersEngine

    return TransformersEngine(folder, max_num_seqs, fill_loops)
