"""What recipes are made of: how answers are sampled, how students are trained, which prompts and problems there are."""

import json
import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from offmodel.errors import RequestError
from offmodel.objective_names import check_objective, given_parameters


class Value(BaseModel):
    """A frozen value with a canonical JSON form: sorted keys, no spaces, every field written out, but for those that
    came after the first artefacts, which are left out at their default, so that older ids hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def canonical(self) -> str:
        """The JSON text that is hashed; equal values give equal texts in every process."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def but(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        return type(self).model_validate({**self.model_dump(), **changes})


def not_given(value: Any) -> bool:
    return value is None


Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every random generator in use takes


class Sampling(Value):
    """How answers are drawn, but for the seed."""

    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(gt=0)


class Decoding(Sampling):
    """How answers are sampled. Temperature 0 is greedy, for which seed and top_p mean nothing and are normalised."""

    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _greedy_has_no_seed(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("temperature") == 0:
            return {**data, "seed": 0, "top_p": 1.0}
        return data


class TrainingSize(Value):
    """How a student is trained, but for the objective and the seed.

    Lengths are in the student's tokens; `batch_size` counts examples for each optimiser step over all devices. The
    constants' sources stand beside them in the presets.
    """

    method: Literal["lora", "full"] = "lora"
    rank: int = Field(default=32, gt=0, le=1024)
    alpha: float = Field(default=64, gt=0)
    learning_rate: float = Field(gt=0, lt=1)
    epochs: float = Field(default=1, gt=0)
    batch_size: int = Field(default=8, gt=0)
    max_length: int = Field(default=1024, gt=1)
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)

    def steps(self, examples: int) -> int:
        """Optimiser steps that a training on so many examples takes; the last may be smaller."""
        return math.ceil(max(round(examples * self.epochs), 1) / self.batch_size)

    def refuse_only_warm_up(self, examples: int) -> None:
        """See that a training on so many examples takes a step at a learning rate above 0.

        Raises:
            RequestError: there is one step, and a warm-up, which begins at a rate of 0.
        """
        if self.steps(examples) == 1 and self.warmup_ratio:
            raise RequestError(
                "this training has one step, whose learning rate is 0 while it warms up: lower batch_size "
                f"({self.batch_size}), give it more examples, or set warmup_ratio = 0"
            )


def _in_order(steps: tuple[int, ...]) -> tuple[int, ...]:
    if list(steps) != sorted(set(steps)):
        raise ValueError(f"snapshots {list(steps)} are not different steps in order")
    return steps


Snapshots = Annotated[tuple[Annotated[int, Field(gt=0)], ...], AfterValidator(_in_order)]


class Training(TrainingSize):
    """How a student is trained: with an objective of `offmodel.objective_names`, on those `parameters` of it that are
    not at their default. Without any the field is not written at all, so that an objective may get a new one and keep
    its ids. `snapshots` are optimiser steps after which its weights are kept as well.

    Raises:
        RequestError: an unknown objective, or one that cannot be run with these parameters or this method.
    """

    snapshots: Snapshots = Field(default=(), exclude_if=lambda steps: not steps)
    objective: str = "sft"
    parameters: dict[str, float] = Field(default={}, exclude_if=lambda given: not given)
    seed: Seed = 0

    @field_validator("parameters")
    @classmethod
    def _without_defaults(cls, given: dict[str, float], others: ValidationInfo) -> dict[str, float]:
        return given_parameters(others.data.get("objective", ""), given)

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        check_objective(self.objective, self.parameters, self.method)
        return self


class DPOSize(TrainingSize):
    """How a student is trained on pairs of answers, but for the seed: DPO (Rafailov et al., 2023, arXiv 2305.18290),
    with the student as it starts for the reference.

    The batch, in pairs, and the warm-up are those of the DFT paper's DPO (arXiv 2508.05629); its rate is 1e-6 on full
    weights, and for LoRA ten times that (see `RLSize`).

    Attributes:
        beta: what a nat of log-probability above the reference is worth as a reward; 0.1 is TRL's default and the
            DPO paper's.
    """

    method: Literal["lora"] = "lora"  # type: ignore[assignment]  # the reference is the adapter switched off
    learning_rate: float = Field(default=1e-5, gt=0, lt=1)
    batch_size: int = Field(default=128, gt=0)
    beta: float = Field(default=0.1, gt=0, le=10)


class DPO(DPOSize):
    """How a student is trained on pairs of answers."""

    seed: Seed = 0


class Prompts(Value):
    """`n` chat prompts of a source in an order drawn by `seed`, the first `skip` left out.

    `revision` names the source's bytes (a commit of the hub, or the digest of a file), so that an edited file or
    another mirror is another data set. Prompts are cheap to load and are not stored as artefacts.
    """

    source: str
    revision: str
    n: int = Field(gt=0)
    seed: int = Field(default=0, ge=0)
    skip: int = Field(default=0, ge=0)
    math: bool = Field(default=True, description="False leaves out prompts that ask for mathematics")

    def held_out(self, k: int) -> "Prompts":
        """The `k` prompts after these: never seen by a student trained on these."""
        return self.but(skip=self.skip + self.n, n=k)


class Framing(Value):
    """What is put around a chat: a system message before it, a suffix after its last user turn."""

    system: str | None = None
    suffix: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.system and not self.suffix:
            raise ValueError("a framing has a system message, a suffix, or both; leave it out for neither")
        return self


class Task(Value):
    """A benchmark by name, with the revision of its items and of its scorer."""

    name: str
    revision: str


AnswerReward = Literal["number", "formula"]
RewardName = Literal[AnswerReward, "format"]


class RLSize(Value):
    """How a student is reinforced, but for the reward and the seed: GRPO (Shao et al., 2024, arXiv 2402.03300) on LoRA.

    An update is one optimiser step on `prompts_per_update` problems with `group` sampled answers each, all sampled from
    the weights it starts from. The ratio of new to old probabilities is therefore 1 in every loss and is never clipped,
    so there is no clipping range to choose. The learning rate is constant, without warm-up: the first 50 updates of a
    run of 100 are a run of 50.

    Attributes:
        rank, alpha: of LoRA on all linear layers, as in `TrainingSize`.
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
    snapshots: Snapshots = ()
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
        if self.snapshots and self.snapshots[-1] > self.updates:
            raise ValueError(f"snapshots {list(self.snapshots)} go beyond the {self.updates} updates")
        return self


class RL(RLSize):
    """How a student is reinforced. `reward` is a name in `offmodel.training.rewards`."""

    reward: RewardName = "number"
    seed: Seed = 0


class DistillationSize(Value):
    """How a student is distilled on-policy, but for the seed: GKD (Agarwal et al., 2024, arXiv 2306.13649) on LoRA,
    with answers of the student alone and the reverse KL divergence, as in MiniLLM (Gu et al., 2024, arXiv 2306.08543).

    An update is one optimiser step on one sampled answer to each of `prompts_per_update` prompts, all sampled from the
    weights it starts from. Its loss is KL(student || teacher) of the next token, over the whole vocabulary, averaged
    over the answers' tokens; no gradient flows through the sampling. The learning rate is constant, without warm-up.

    Attributes:
        rank, alpha: of LoRA on all linear layers, as in `TrainingSize`.
        learning_rate: that of Thinking Machines' recipe for LoRA of rank 128 (tinker-cookbook, recipes/distillation;
            "On-Policy Distillation", 2025), where SFT takes ten times as much.
        epochs: passes over the prompts; each samples new answers.
        prompts_per_update: fewer prompts than these make updates of all of them.
        max_completion_tokens: an answer that is longer is cut, and learned from as it is.
        temperature: of sampling, and of both distributions in the loss; 1 is the models themselves.
    """

    rank: int = Field(default=32, gt=0, le=1024)
    alpha: float = Field(default=64, gt=0)
    learning_rate: float = Field(default=1e-4, gt=0, lt=1)
    epochs: int = Field(default=1, gt=0)
    prompts_per_update: int = Field(default=8, gt=0)
    max_completion_tokens: int = Field(default=512, gt=0)
    temperature: float = Field(default=1.0, gt=0, le=2)
    max_grad_norm: float = Field(default=1.0, gt=0)


class Distillation(DistillationSize):
    """How a student is distilled on-policy."""

    seed: Seed = 0

    def updates(self, n: int) -> tuple[int, int]:
        """On `n` prompts, how many updates there are, and how many prompts each takes.

        Raises:
            RequestError: a pass over the prompts is no whole number of updates.
        """
        each = min(self.prompts_per_update, n)
        if not n or n % each:
            raise RequestError(
                f"{n} prompts are no whole number of updates of {each}; change `prompts_per_update` under "
                "[distillation] or `sizes` under [repair]"
            )
        return self.epochs * n // each, each
