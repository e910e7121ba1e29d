"""What reinforcement learning is told. Light: importing this loads no model code."""

import importlib.metadata
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from offmodel.errors import RequestError
from offmodel.recipes import Seed, Value

TRL: Final = "1.16.0"
"""The one version of TRL that `grpo_loop` is written for: it overrides private methods. Pinned in pyproject.toml."""

RewardName = Literal["number", "formula", "format"]


class RLSize(Value):
    """How a student is reinforced, but for the reward and the seed: GRPO (Shao et al., 2024, arXiv 2402.03300) on LoRA.

    An update is one optimiser step on `prompts_per_update` problems with `group` sampled answers each, all sampled from
    the weights it starts from. The ratio of new to old probabilities is therefore 1 in every loss and is never clipped,
    so there is no clipping range to choose. The learning rate is constant, without warm-up: the first 50 updates of a
    run of 100 are a run of 50.

    Attributes:
        rank, alpha: of LoRA on all linear layers, as in `recipes.TrainingSize`.
        learning_rate: ten times the 1e-6 that GRPO on full weights takes (arXiv 2402.03300; TRL's default; the DFT
            paper's GRPO, arXiv 2508.05629), for LoRA wants about ten times the rate of full weights ("LoRA Without
            Regret", Schulman et al., 2025).
        updates: the study's design asks for 50 to 200.
        prompts_per_update, group: 8 answers to a problem is TRL's default.
        snapshots: updates after which the adapter is kept as well, for scores against updates.
        max_prompt_tokens: a longer prompt is refused, not cut: the question would be lost.
        max_completion_tokens: an answer that is longer is cut, and judged as it is.
        temperature: of sampling, and of the log-probabilities in the loss; 1 is the model itself.
        beta: weight of the KL divergence from the start, in nats for each token. 0 (TRL's default) as in DAPO (arXiv
            2503.14476) and Dr. GRPO (arXiv 2503.20783); GRPO itself took 0.04. Its gradient is corrected as in
            DeepSeek-V3.2 (arXiv 2512.02556), as TRL does.
        loss: how tokens are weighted. `grpo`: each answer alike. `dapo` (TRL's default): each token of the update
            alike, so that a long answer's tokens are not pushed less. `dr_grpo`: as `dapo`, but divided by the longest
            answer allowed, and advantages are not divided by the group's standard deviation.
    """

    rank: int = Field(default=32, gt=0, le=1024)
    alpha: float = Field(default=64, gt=0)
    learning_rate: float = Field(default=1e-5, gt=0, lt=1)
    updates: int = Field(default=100, gt=0)
    snapshots: tuple[Annotated[int, Field(gt=0)], ...] = ()
    prompts_per_update: int = Field(default=16, gt=0)
    group: int = Field(default=8, ge=2)
    max_prompt_tokens: int = Field(default=512, gt=0)
    max_completion_tokens: int = Field(default=512, gt=0)
    temperature: float = Field(default=1.0, gt=0, le=2)
    beta: float = Field(default=0.0, ge=0)
    loss: Literal["grpo", "dapo", "dr_grpo"] = "dapo"
    max_grad_norm: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _snapshots_lie_on_the_way(self) -> Self:
        if list(self.snapshots) != sorted(set(self.snapshots)) or (
            self.snapshots and self.snapshots[-1] > self.updates
        ):
            raise ValueError(
                f"snapshots {list(self.snapshots)} are not different updates in order, up to {self.updates}"
            )
        return self


class RL(RLSize):
    """How a student is reinforced. `reward` is a name in `offmodel.training.rewards`."""

    reward: RewardName = "number"
    seed: Seed = 0


def require_trl() -> None:
    """See that GRPO can run; imports nothing, so that a plan can ask.

    Raises:
        RequestError: TRL is not installed, or in another version.
    """
    remedy = 'install the extra `rl` beside `cpu` or `gpu`: python -m pip install -e ".[rl]"'
    try:
        found = importlib.metadata.version("trl")
    except importlib.metadata.PackageNotFoundError as error:
        raise RequestError(f"reinforcement learning needs TRL {TRL}, which is not installed; {remedy}") from error
    if found != TRL:
        raise RequestError(f"reinforcement learning needs TRL {TRL}, and {found} is installed; {remedy}")
