"""TRL's loop of on-policy distillation with what is our own in `on_policy`.

Of TRL's two, `DistillationTrainer` samples every answer from the student, takes the divergence at the temperature that
was sampled at, and divides by the tokens sampled; `GKDTrainer` counts the tokens of given answers, of which there are
none here. Importing this imports TRL; `offmodel.training.rl.require_trl` says beforehand whether that will do.
"""

import warnings
from typing import ClassVar

from offmodel.training.on_policy import OnPolicyTrainer

with warnings.catch_warnings():
    # As in `grpo_loop`: vLLM is none of its business here.
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM", category=UserWarning)
    from trl.trainer.distillation_config import DistillationConfig
    from trl.trainer.distillation_trainer import DistillationTrainer

__all__ = ["DistillationConfig", "LoggingDistillation"]


class LoggingDistillation(OnPolicyTrainer, DistillationTrainer):
    """A DistillationTrainer that is an `OnPolicyTrainer`."""

    logged: ClassVar = {
        "kl": "kl",
        "entropy": "entropy",
        "completions/mean_length": "completion_tokens",
        "completions/clipped_ratio": "truncated",
    }

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log({**logs, "kl": logs["loss"]} if "loss" in logs else logs, start_time)
