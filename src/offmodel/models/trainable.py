"""Whether a checkpoint can be a student, as far as its config tells: before anything is generated for it.

What the config does not tell, `training.checkpoint` sees on the weights.
"""

import json
from pathlib import Path
from typing import Any

from offmodel.errors import RequestError
from offmodel.models.card import ModelCard
from offmodel.weights.checkpoints import HubCheckpoint, LocalCheckpoint, config_of_hub

# Of configs whose logits are not hidden states times the output embedding: Gemma 2, Granite, Cohere.
_CHANGED_LOGITS = ("final_logit_softcapping", "logits_scaling", "logit_scale")


def check_student(card: ModelCard, models: Path | None) -> None:
    """Refuse a model that every training of it would refuse.

    Args:
        card: the model.
        models: the mirror folder, or None.

    Raises:
        RequestError: it reads more than text, or its loss would be another one than ours. Not where its config cannot
            be had yet.
    """
    config = _config(card, models)
    if "text_config" in config:
        raise RequestError(f"{card.alias} is a model of text and more: it can be a teacher, not a student")
    changed = [f"{name} = {config[name]}" for name in _CHANGED_LOGITS if config.get(name) not in (None, 1)]
    if changed:
        raise RequestError(
            f"{card.alias} cannot be a student: its logits are not hidden states times the output embedding, which the "
            f"losses here take them for ({', '.join(changed)} in its config.json)"
        )


def _config(card: ModelCard, models: Path | None) -> dict[str, Any]:
    if isinstance(card.source, LocalCheckpoint):
        path: Path | None = card.source.folder / "config.json"
    elif isinstance(card.source, HubCheckpoint):
        path = config_of_hub(card.source, models)
    else:
        path = None  # registered, and known to be trainable
    return json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else {}
