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

# A chat prompt with its template, in tokens: only for estimates.
PROMPT_TOKENS = 60
# Bytes that a token in a training step keeps for the backward pass, of a model of 10⁹ parameters, without
# checkpointing; it grows with their root. Counted layer by layer: 1.8 MB for Llama-3.2-1B, 3.0 MB for Qwen2.5-1.5B and
# Qwen3-1.7B, 6.6 MB for Llama-3.1-8B.
_TOKEN_BYTES = 2.4e6
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


def memory_bytes(recipe: Recipe, device_batch: int) -> int:
    """What a step takes at most, when a training step holds `device_batch` examples at once."""
    held = [MODELS[alias] for alias in models_held(recipe)]
    if not held:
        return 0
    first, others = held[0], held[1:]
    weights = first.memory_bytes + sum(card.checkpoint_bytes for card in others)
    if isinstance(recipe, Trained) and recipe.training.method == "full":
        weights += (_FULL - 1) * first.checkpoint_bytes
    examples, a_token = device_batch, _TOKEN_BYTES * math.sqrt(first.parameters / 1e9)
    if isinstance(recipe, Preferred):
        examples, a_token = 2 * pairs_at_once(device_batch), a_token + _LOGITS_BYTES
    return int(weights + examples * _longest_example(recipe) * a_token)


def pairs_at_once(device_batch: int) -> int:
    """Pairs of answers that DPO holds where another training holds so many examples."""
    return max(1, device_batch // 4)


def _longest_example(recipe: Recipe) -> int:
    """Tokens of it; 0 where nothing is trained."""
    if isinstance(recipe, Trained):
        return min(recipe.training.max_length, PROMPT_TOKENS + recipe.data.longest)
    if isinstance(recipe, Preferred):
        return min(recipe.dpo.max_length, PROMPT_TOKENS + recipe.data.longest)
    if isinstance(recipe, Reinforced):
        return PROMPT_TOKENS + recipe.rl.max_completion_tokens
    return PROMPT_TOKENS + recipe.distillation.max_completion_tokens if isinstance(recipe, Distilled) else 0
