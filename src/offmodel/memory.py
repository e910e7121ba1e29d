"""How much memory a step of a plan takes, roughly: weights, and what a training step keeps for its way back."""

import math

from offmodel.models import MODELS
from offmodel.recipes import (
    Completions,
    Distilled,
    Likelihood,
    Preferred,
    Recipe,
    Reinforced,
    Scores,
    Scripted,
    Trained,
)
from offmodel.settings import Running

# A chat prompt with its template, in tokens: only for estimates.
PROMPT_TOKENS = 60
# Bytes that a token in a training step keeps for the backward pass, of a model of 10⁹ parameters, without
# checkpointing; it grows with their root. Counted layer by layer: 1.8 MB for Llama-3.2-1B, 3.0 MB for Qwen2.5-1.5B and
# Qwen3-1.7B, 6.6 MB for Llama-3.1-8B.
_TOKEN_BYTES = 2.4e6
# What is left of them with checkpointing, at most: the inputs of all layers and the whole of one. A tenth of it for
# Llama-3.2-1B, which has 16 layers; less for deeper ones.
_WITH_CHECKPOINTING = 0.1
# Bytes of keys and values of a token, for a model of 10⁹ parameters and up; of those of a small one less. Models whose
# heads share them: 33 kB for Llama-3.2-1B, 115 for Qwen3-1.7B, 131 for Llama-3.1-8B, 147 for Qwen3-8B.
_CACHE_BYTES = 150e3
# Bytes that TRL's DPO keeps for the logits of a token, which are whole there, of some 150,000 words: measured on
# Qwen2.5-0.5B, four pairs of which took 24 GB.
_LOGITS_BYTES = 3.6e6
# Full weights in training: fp32, their gradients and two moments, for each 2 bytes of a checkpoint.
_FULL = 8


def models_held(recipe: Recipe) -> list[str]:
    """The models that must be in memory for a step, the one that works first."""
    if isinstance(recipe, Trained | Reinforced | Preferred):
        return [recipe.student]
    if isinstance(recipe, Distilled):
        return [recipe.student, recipe.teacher]
    if isinstance(recipe, Likelihood):
        return [recipe.model.student]
    model = recipe.model if isinstance(recipe, Completions | Scores) else None
    return [] if model is None or isinstance(model, Scripted) else [model.student]


def memory_bytes(recipe: Recipe, running: Running) -> int:
    """What a step takes at most, when a training step holds `running.device_batch` examples at once."""
    held = [MODELS[alias] for alias in models_held(recipe)]
    if not held:
        return 0
    first, others = held[0], held[1:]
    longest = _longest_example(recipe)
    weights = first.training_bytes if longest else first.memory_bytes
    weights += sum(card.checkpoint_bytes for card in others)
    if isinstance(recipe, Trained) and recipe.training.method == "full":
        weights += (_FULL - 1) * first.checkpoint_bytes
    examples, a_token = running.device_batch, _TOKEN_BYTES * math.sqrt(first.parameters / 1e9)
    if isinstance(recipe, Trained) and running.gradient_checkpointing:
        a_token *= _WITH_CHECKPOINTING
    if isinstance(recipe, Preferred):
        examples, a_token = 2 * pairs_at_once(running.device_batch), a_token + _LOGITS_BYTES
    sampled = _sampled_at_once(recipe) * _CACHE_BYTES * min(1, first.parameters / 1e9)
    return int(weights + longest * max(examples * a_token, sampled))


def pairs_at_once(device_batch: int) -> int:
    """Pairs of answers that DPO holds where another training holds so many examples."""
    return max(1, device_batch // 4)


def _sampled_at_once(recipe: Recipe) -> int:
    """Answers that a training draws together, whose keys and values are all kept: TRL samples an update's at once."""
    if isinstance(recipe, Reinforced):
        return recipe.rl.prompts_per_update * recipe.rl.group
    return recipe.distillation.prompts_per_update if isinstance(recipe, Distilled) else 0


def _longest_example(recipe: Recipe) -> int:
    """Tokens of it; 0 where nothing is trained."""
    if isinstance(recipe, Trained):
        return min(recipe.training.max_length, PROMPT_TOKENS + recipe.data.longest)
    if isinstance(recipe, Preferred):
        return min(recipe.dpo.max_length, PROMPT_TOKENS + recipe.data.longest)
    if isinstance(recipe, Reinforced):
        return PROMPT_TOKENS + recipe.rl.max_completion_tokens
    return PROMPT_TOKENS + recipe.distillation.max_completion_tokens if isinstance(recipe, Distilled) else 0
