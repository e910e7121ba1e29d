"""What the project knows of a model."""

from dataclasses import dataclass, field
from typing import Literal

from offmodel.engines.provider import ApiModel
from offmodel.weights.checkpoints import HubCheckpoint, LocalCheckpoint
from offmodel.weights.hub import HubGguf
from offmodel.weights.packages import PackagedGguf


@dataclass(frozen=True)
class ModelCard:
    """A model and its quirks.

    Sizes are in bytes; speeds in tokens per second on two CPU cores with avx512_bf16, for the estimates of `--plan`.
    `in_context` marks a base model without turns of its own, which is shown worked examples (URIAL, arXiv 2312.01552);
    it can teach and cannot be trained. So can `api`, a model asked over the network; its sizes and speeds are 0.
    `template_options` are passed to the chat template. A reasoning model's answers are taken whole, what it thought
    included (`data.thoughts`).
    """

    alias: str
    title: str
    family: str
    parameters: int
    licence: str
    source: PackagedGguf | HubGguf | HubCheckpoint | LocalCheckpoint | ApiModel
    chat: Literal["template", "in_context", "api"]
    download_bytes: int
    checkpoint_bytes: int
    generated_per_second: float
    trained_per_second: float
    split_digits: bool = False
    end_of_turn: tuple[str, ...] = ()
    template_options: dict[str, bool | str] = field(default_factory=dict)

    @property
    def memory_bytes(self) -> int:
        """What serving it takes, roughly: its weights, a quarter more, and 4 GB."""
        return int(1.25 * self.checkpoint_bytes) + 4_000_000_000 if self.checkpoint_bytes else 0

    @property
    def training_bytes(self) -> int:
        """What training an adapter on it takes, roughly, beside what its steps keep for their way back: its weights, a
        tenth more for the adapter and its optimiser, and 4 GB."""
        return int(1.1 * self.checkpoint_bytes) + 4_000_000_000 if self.checkpoint_bytes else 0
