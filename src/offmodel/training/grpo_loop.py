"""What is our own in TRL's GRPO loop beside `on_policy`: guarded rewards, and adapters kept on the way.

Importing this imports TRL; `offmodel.training.rl.require_trl` says beforehand whether that will do.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from offmodel.errors import RunError
from offmodel.paths import snapshot_folder
from offmodel.training.on_policy import OnPolicyTrainer
from offmodel.training.rewards import Judged

with warnings.catch_warnings():
    # TRL names the vLLM versions it drives. Here it samples with transformers, and vLLM is none of its business.
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM", category=UserWarning)
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

__all__ = ["GRPOConfig", "LoggingGRPO"]

Judge = Callable[[Sequence[int], Sequence[str]], list[Judged]]
"""Indices of problems and as many completions to what they earn."""


class LoggingGRPO(OnPolicyTrainer, GRPOTrainer):
    """A GRPOTrainer that is an `OnPolicyTrainer`.

    Args:
        judge: the reward.
        snapshots: updates after which the adapter is written to `snapshot-<update>` in the output folder.
    """

    logged: ClassVar = {
        "reward": "reward",
        "reward_std": "reward_std",
        "frac_reward_zero_std": "equal_rewards",
        "checker_failures": "checker_failures",
        "completions/mean_length": "completion_tokens",
        "completions/clipped_ratio": "truncated",
        "entropy": "entropy",
        "kl": "kl",
    }

    def __init__(self, *, judge: Judge, snapshots: Sequence[int], **others: Any) -> None:
        self._judge, self._snapshots = judge, snapshots
        super().__init__(reward_funcs=self._rewards, **others)

    def _rewards(
        self, prompts: list[str], completions: list[str], log_metric: Callable[[str, float], None], **_: Any
    ) -> list[float | None]:
        judged = self._judge([int(prompt) for prompt in prompts], completions)
        failures = [one.failure for one in judged if one.failure is not None]
        if len(failures) == len(judged):
            raise RunError(
                f"the reward failed on all {len(judged)} answers of update {self.state.global_step + 1} (the last: "
                f"{failures[-1]}); mend it, and the run goes on from its last checkpoint"
            )
        log_metric("checker_failures", len(failures) / len(judged))
        return [one.reward for one in judged]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        step = self.state.global_step
        if "grad_norm" in logs and step in self._snapshots and self.args.should_save:
            self.accelerator.unwrap_model(self.model).save_pretrained(
                snapshot_folder(Path(str(self.args.output_dir)), step)
            )
