"""Every model of the study once: where its weights come from, how it is talked to, what it costs to run."""

import json

from offmodel.data.chat import in_context_digest
from offmodel.engines.provider import ApiModel
from offmodel.errors import RequestError
from offmodel.models.card import ModelCard
from offmodel.models.checkpoints import CHECKPOINTS
from offmodel.models.network import NETWORK
from offmodel.models.small import SMALL
from offmodel.nearest import unknown
from offmodel.recipes import Base
from offmodel.weights.checkpoints import HubCheckpoint

__all__ = ["MODELS", "ModelCard", "model"]

# Digits of a digest or a commit that a recipe holds.
_DIGITS = 16

MODELS: dict[str, ModelCard] = {card.alias: card for card in (*SMALL, *CHECKPOINTS, *NETWORK)}


def model(alias: str, sha256: str | None = None) -> Base:
    """The untrained model of that alias, as a recipe.

    Args:
        alias: a key of `MODELS`.
        sha256: digest of the weights that are accepted instead of the registered ones.

    Raises:
        RequestError: no such alias; the nearest one is offered.
    """
    if alias not in MODELS:
        raise unknown("model", alias, MODELS)
    card = MODELS[alias]
    chat = f"{card.chat}:{in_context_digest()}" if card.chat == "in_context" else card.chat
    if card.template_options:
        chat += ":" + json.dumps(card.template_options, sort_keys=True)
    if isinstance(card.source, ApiModel):
        if sha256 is not None:
            raise RequestError(
                f"{alias} is asked over the network: it has no weights to accept; remove it from [weights]"
            )
        weights = f"api:{card.source.name}"  # not the URL: moving a server changes no answer that is there
    elif sha256 is not None:
        weights = f"sha256:{sha256[:_DIGITS]}"
    elif isinstance(card.source, HubCheckpoint):
        weights = f"hub:{card.source.commit[:_DIGITS]}"
    else:
        weights = f"sha256:{card.source.sha256[:_DIGITS]}"
    return Base(alias=alias, weights=weights, chat=chat)
