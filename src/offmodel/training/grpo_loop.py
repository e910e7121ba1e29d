"""What is our own in TRL's GRPO loop: token ids as prompts, guarded rewards, the learning curve, whole checkpoints.

Importing this imports TRL; `offmodel.training.rl.require_trl` says beforehand whether that will do.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
from torch import Tensor
from transformers import PrinterCallback

from offmodel.errors import RunError
from offmodel.paths import snapshot_folder
from offmodel.training.loop import OnProgress, mark_whole
from offmodel.training.rewards import Judged

with warnings.catch_warnings():
    # TRL names the vLLM versions it drives. Here it samples with transformers, and vLLM is none of its business.
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM", category=UserWarning)
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

__all__ = ["GRPOConfig", "LoggingGRPO"]

Judge = Callable[[Sequence[int], Sequence[str]], list[Judged]]
"""Indices of problems and as many completions to what they earn."""

_COLUMNS: Final = {
    "step": "step",
    "loss": "loss",
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "equal_rewards",
    "checker_failures": "checker_failures",
    "completions/mean_length": "completion_tokens",
    "completions/clipped_ratio": "truncated",
    "entropy": "entropy",
    "kl": "kl",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
}
"""What TRL and we log, and the column it becomes."""


class LoggingGRPO(GRPOTrainer):
    """A GRPOTrainer on prompts given as token ids, that keeps a row for each update in its state.

    Args:
        prompts: token ids of each problem; the data set's `prompt` is an index into them, written as text.
        judge: the reward.
        snapshots: updates after which the adapter is written to `snapshot-<update>` in the output folder.
    """

    def __init__(
        self,
        *,
        prompts: Sequence[list[int]],
        judge: Judge,
        snapshots: Sequence[int],
        on_progress: OnProgress,
        fingerprint: str,
        **of_trl: Any,
    ) -> None:
        self._prompts, self._judge, self._snapshots = prompts, judge, snapshots
        self._on_progress, self._fingerprint = on_progress, fingerprint
        self._update_began: float | None = None
        super().__init__(reward_funcs=self._rewards, **of_trl)
        self.remove_callback(PrinterCallback)

    def rows(self) -> pd.DataFrame:
        """The learning curve so far, one row for each update, those before a resume included."""
        logged = pd.DataFrame([row for row in self.state.log_history if "seconds" in row])
        curve = logged.reindex(columns=list(_COLUMNS)).rename(columns=_COLUMNS).astype(float).astype({"step": int})
        sampled = (curve["completion_tokens"] * self._answers_per_update).round().astype(int)
        tokens = logged["num_tokens"].diff().fillna(logged["num_tokens"]).astype(int)
        curve.insert(len(curve.columns) - 1, "tokens", tokens)
        curve.insert(len(curve.columns) - 1, "sampled_tokens", sampled)
        curve.insert(len(curve.columns) - 1, "tokens_per_second", sampled / curve["seconds"])
        return curve

    @property
    def _answers_per_update(self) -> int:
        assert isinstance(self.args, GRPOConfig) and self.args.generation_batch_size
        return self.args.generation_batch_size

    # ---- what TRL calls

    def _send_telemetry(self) -> None:
        """Nothing is told to anyone: TRL would report each run to its makers."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: TRL would write one into every checkpoint."""

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        # TRL would apply the tokenizer's template with its own options; the ids that were trained on are these.
        return [self._prompts[int(prompt)] for prompt in prompts], None, {}

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

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        self._update_began = self._update_began or time.perf_counter()  # the first of an update samples the answers
        return super().training_step(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "grad_norm" not in logs:  # the summary after the last step
            return
        step = self.state.global_step
        if not (math.isfinite(logs["loss"]) and math.isfinite(logs["grad_norm"])):
            raise RunError(
                f"training diverged at update {step} of {self.state.max_steps} (loss {logs['loss']}, gradient norm "
                f"{logs['grad_norm']}); lower learning_rate"
            )
        assert self._update_began is not None
        seconds = time.perf_counter() - self._update_began
        self._update_began = None
        super().log({**logs, "seconds": seconds}, start_time)
        if step in self._snapshots and self.args.should_save:
            self.accelerator.unwrap_model(self.model).save_pretrained(
                snapshot_folder(Path(str(self.args.output_dir)), step)
            )
        self._on_progress(step, self.state.max_steps, int(self.rows()["tokens"].iloc[-1]))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            mark_whole(Path(str(self.args.output_dir)), self.state.global_step, self._fingerprint)
