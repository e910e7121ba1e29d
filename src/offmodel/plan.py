"""All work of a study, each artefact once and in order: what is there, what is missing, what it costs."""

from collections.abc import Iterable
from dataclasses import dataclass

from offmodel.evaluation.registry import TASKS
from offmodel.memory import PROMPT_TOKENS, memory_bytes, models_held
from offmodel.models import MODELS
from offmodel.recipes import (
    Accepted,
    Base,
    Changed,
    Completions,
    Distilled,
    Likelihood,
    Mixture,
    Preferences,
    Preferred,
    Recipe,
    Reinforced,
    Scores,
    Scrambled,
    Scripted,
    Snapshot,
    Solutions,
    SolutionsInstead,
    Trained,
)
from offmodel.settings import Running
from offmodel.store import Store
from offmodel.weights.checkpoints import HubCheckpoint

# Interpreter, libraries and weights of one worker, in seconds on two CPU cores.
WORKER_START = 30
# One answer compared by math-verify, in seconds.
FORMULA_SECONDS = 0.01
# One answer of a provider, in seconds, when several are asked for at once: a guess.
API_SECONDS = 1


@dataclass(frozen=True)
class Step:
    """One artefact to make.

    `group` names what a worker must have loaded for it: steps of one group share a worker. `tokens` is the most that
    it generates or trains on, `seconds` about what that takes on two CPU cores.
    """

    recipe: Recipe
    done: bool
    group: str
    tokens: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Plan:
    """The steps in an order in which parents come first."""

    steps: list[Step]

    @property
    def missing(self) -> list[Step]:
        return [step for step in self.steps if not step.done]

    @property
    def bytes(self) -> int:
        # The engine reads a trained student from a merged copy of which one is kept, beside the one being written.
        merged = [
            MODELS[step.recipe.student].checkpoint_bytes for step in self.missing if isinstance(step.recipe, Changed)
        ]
        return sum(step.bytes for step in self.missing) + 2 * max(merged, default=0)

    def describe(self, running: Running) -> str:
        """The plan as a table: one line an artefact, totals below, with the memory that it takes when run so."""
        width = max((len(step.recipe.id) for step in self.steps), default=0)
        lines = [f"{'artefact':<{width}}  state    about"]
        lines += [f"{s.recipe.id:<{width}}  {'done   ' if s.done else 'missing'}  {_cost(s)}" for s in self.steps]
        missing = self.missing
        workers = len({step.group for step in missing})
        seconds = sum(step.seconds for step in missing) + WORKER_START * workers
        needs = [(memory_bytes(step.recipe, running), models_held(step.recipe)) for step in missing]
        needed, held = max(needs, default=(0, []), key=lambda need: need[0])
        memory = f", {needed / 1e9:.0f} GB of memory ({' and '.join(held)})" if held else ""
        lines.append(
            f"{len(self.steps) - len(missing)} of {len(self.steps)} artefacts are there; the rest takes about "
            f"{sum(step.tokens for step in missing):,} tokens, {seconds / 60:.0f} minutes on 2 CPU cores, "
            f"{self.bytes / 1e9:.1f} GB of disk{memory}"
        )
        lines += [
            f"{step.recipe.prompts.n:,} requests to '{step.recipe.model.student}', at most "
            f"{step.recipe.prompts.n * step.recipe.decoding.max_tokens:,} answer tokens; its provider may charge"
            for step in missing
            if isinstance(step.recipe, Completions) and step.group.startswith("api:")
        ]
        return "\n".join(lines)


def _cost(step: Step) -> str:
    if not step.tokens:
        return f"{step.seconds:>12.0f} s"
    return f"{step.seconds:>12.0f} s  {step.tokens:>9,} tokens"


def make_plan(wanted: Iterable[Recipe], store: Store) -> Plan:
    """Every wanted artefact and all its parents, deduplicated. Finished artefacts need no parents and list none.

    Raises:
        RequestError: a training that is missing could not be run.
    """
    ordered: dict[str, Step] = {}

    def visit(recipe: Recipe) -> None:
        if recipe.id in ordered:
            return
        done = store.is_done(recipe)
        if not done:
            if isinstance(recipe, Trained | Preferred):
                how = recipe.training if isinstance(recipe, Trained) else recipe.dpo
                how.refuse_only_warm_up(recipe.data.size)
            for parent in recipe.parents():
                visit(parent)
        if not isinstance(recipe, Scripted | Snapshot):
            ordered[recipe.id] = _step(recipe, done)

    for recipe in wanted:
        visit(recipe)
    return Plan(list(ordered.values()))


def _step(recipe: Recipe, done: bool) -> Step:
    tokens, seconds, size = 0, 0.0, 100_000
    group = "scripted"
    if isinstance(recipe, Base):
        card = MODELS[recipe.alias]
        # A download from the hub is linked where the disk is the same, and else only its copy lies here.
        linked = isinstance(card.source, HubCheckpoint)
        group, size = "weights", card.checkpoint_bytes + (0 if linked else card.download_bytes)
        seconds = 20 + card.download_bytes / 20e6 if card.download_bytes else 0
    elif isinstance(recipe, Completions) and MODELS[recipe.model.student].chat == "api":
        group = f"api:{recipe.model.student}"
        seconds = recipe.prompts.n * API_SECONDS
    elif isinstance(recipe, Completions):
        tokens = recipe.prompts.n * recipe.decoding.max_tokens
        seconds = tokens / MODELS[recipe.model.student].generated_per_second
        group, size = f"engine:{recipe.model.student}", tokens * 10
    elif isinstance(recipe, Trained):
        tokens = int(recipe.data.size * (PROMPT_TOKENS + recipe.data.longest) * recipe.training.epochs)
        card = MODELS[recipe.student]
        seconds = tokens / card.trained_per_second
        # An adapter is a few hundredths of its base; while it is made, two checkpoints hold it with its optimiser.
        group, size = f"train:{recipe.student}", card.checkpoint_bytes // 10 * (1 + len(recipe.training.snapshots))
        if recipe.training.method == "full":
            # fp32 weights and two moments, twice, and the result; snapshots twice, until it is published
            size = card.checkpoint_bytes * (15 + 2 * len(recipe.training.snapshots))
    elif isinstance(recipe, Accepted | Preferences) and recipe.reward == "formula":
        seconds = recipe.answers * FORMULA_SECONDS
    elif isinstance(recipe, Preferred):
        card, dpo = MODELS[recipe.student], recipe.dpo
        tokens = int(recipe.data.size * 2 * (PROMPT_TOKENS + recipe.data.longest) * dpo.epochs)
        # A training step is a forward pass and two like it backward; the reference takes one more.
        seconds = tokens * 4 / (3 * card.trained_per_second)
        group, size = f"dpo:{recipe.student}", card.checkpoint_bytes // 10
    elif isinstance(recipe, Reinforced):
        card = MODELS[recipe.student]
        rl = recipe.rl
        tokens = rl.updates * rl.prompts_per_update * rl.group * (PROMPT_TOKENS + rl.max_completion_tokens)
        # transformers samples, about six times slower than vLLM, and every token is learnt from as well.
        seconds = tokens * (6 / card.generated_per_second + 1 / card.trained_per_second)
        group, size = f"rl:{recipe.student}", card.checkpoint_bytes // 10 * (1 + len(rl.snapshots))
    elif isinstance(recipe, Distilled):
        card = MODELS[recipe.student]
        how = recipe.distillation
        tokens = how.epochs * recipe.prompts.n * (PROMPT_TOKENS + how.max_completion_tokens)
        # As in RL, and the teacher reads every token: a third of a training step on it.
        read = 1 / (3 * MODELS[recipe.teacher].trained_per_second)
        seconds = tokens * (6 / card.generated_per_second + 1 / card.trained_per_second + read)
        group, size = f"distillation:{recipe.student}", card.checkpoint_bytes // 10
    elif isinstance(recipe, Likelihood):
        card = MODELS[recipe.model.student]
        group = f"reads:{recipe.model.student}"
        tokens = recipe.n * (PROMPT_TOKENS + recipe.of.longest)
        seconds = tokens / (3 * card.trained_per_second)  # a training step is a forward pass and two like it backward
        size = tokens * 4
    elif isinstance(recipe, Scores) and not isinstance(recipe.model, Scripted):
        card = MODELS[recipe.model.student]
        group = f"engine:{recipe.model.student}"
        if TASKS[recipe.task.name].kind == "generate":
            begun = recipe.prefill.tokens if recipe.prefill else 0
            tokens = recipe.n * recipe.samples * (recipe.decoding.max_tokens - begun)
            seconds = tokens / card.generated_per_second
        else:
            # Only prompts are read, which is about five times as fast as generating.
            seconds = recipe.n * PROMPT_TOKENS / (5 * card.generated_per_second)
    return Step(recipe, done, group, tokens, seconds, size)


def next_batch(unfinished: list[Step], finished: set[str]) -> list[Step]:
    """The steps that one worker makes next, in order; empty when nothing can go on.

    Of the groups with work, the one that the most others wait for goes first: weights, then answers, then trainings, so
    that trainings and scorings come together in as few workers as can be.

    Args:
        unfinished: parents before children.
        finished: ids of artefacts that are there.
    """
    batches = [_batch(group, unfinished, finished) for group in dict.fromkeys(step.group for step in unfinished)]
    return min((batch for batch in batches if batch), key=_rank, default=[])


def _batch(group: str, unfinished: list[Step], finished: set[str]) -> list[Step]:
    """All steps of a group whose parents are finished or come earlier in the batch. Scripted answers and edited ones
    need nothing loaded and go along with any engine."""
    batch: list[Step] = []
    there = set(finished)
    for step in unfinished:
        joins = step.group == group or (step.group == "scripted" and group.startswith("engine:"))
        if joins and all(parent.id in there for parent in step.recipe.parents()):
            batch.append(step)
            there.add(step.recipe.id)
    return batch if any(step.group == group for step in batch) else []


def _rank(batch: list[Step]) -> int:
    kinds = {type(step.recipe) for step in batch}
    order: list[type[Recipe]] = [
        *(Base, Completions, Scrambled, Mixture, Solutions, Accepted, SolutionsInstead, Preferences, Trained),
        *(Preferred, Reinforced, Distilled, Scores, Likelihood),
    ]
    return min(order.index(kind) for kind in kinds)
