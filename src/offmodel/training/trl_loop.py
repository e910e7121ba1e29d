"""What all of TRL's trainers are kept from, and told, here. Importing this imports no TRL."""

from pathlib import Path
from typing import Any

import torch

from offmodel.training.loop import CurveTrainer, loop_arguments


class QuietTrainer(CurveTrainer):
    """To be inherited before one of TRL's trainers: nothing is told to anyone."""

    def _send_telemetry(self) -> None:
        """TRL would report each run to its makers."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """TRL would write one into every checkpoint."""


def trl_arguments(settings: Any, work: Path, save_every: int, device_batch: int, dtype: torch.dtype) -> dict[str, Any]:
    """`loop.loop_arguments`, and the precision of the matrix products."""
    shared = loop_arguments(settings, work, save_every, device_batch)
    return {**shared, "bf16": dtype == torch.bfloat16, "gradient_checkpointing": False}
