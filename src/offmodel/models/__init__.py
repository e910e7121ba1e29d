"""Every model of the study once: where its weights come from, how it is talked to, what it costs to run."""

import json
from collections.abc import Mapping

from offmodel.data.chat import in_context_digest
from offmodel.engines.provider import ApiModel
from offmodel.errors import RequestError
from offmodel.models.card import ModelCard
from offmodel.models.checkpoints import CHECKPOINTS
from offmodel.models.network import NETWORK
from offmodel.models.own import OwnModel, local_digest, own_card
from offmodel.models.small import SMALL
from offmodel.nearest import unknown
from offmodel.recipes import Base
from offmodel.weights.checkpoints import HubCheckpoint, LocalCheckpoint

__all__ = ["MODELS", "ModelCard", "add_own_models", "model"]

# Digits of a digest or a commit that a recipe holds.
_DIGITS = 16

REGISTERED = (*SMALL, *CHECKPOINTS, *NETWORK)
MODELS: dict[str, ModelCard] = {card.alias: card for card in REGISTERED}


def add_own_models(own: Mapping[str, OwnModel]) -> None:
    """Let the models of a preset be known by their aliases in this process.

    Raises:
        RequestError: an alias is that of a registered model, or a folder holds no checkpoint.
    """
    registered = {card.alias for card in REGISTERED}
    for alias, described in own.items():
        if alias in registered:
            raise RequestError(f"[models.{alias}] has the name of a registered model; give yours another one")
        MODELS[alias] = own_card(alias, described)


def model(alias: str, sha256: str | None = None) -> Base:
    """The untrained model of that alias, as a recipe.

    Args:
        alias: a key of `MODELS`.
        sha256: digest of the weights that are accepted instead of the registered ones.

    Raises:
        RequestError: no such alias; the nearest one is offered.
    """
    if alias not in MODELS:
        told = unknown("model", alias, MODELS)
        raise RequestError(f"{told}. A model of your own is described under [models.ALIAS] of a preset")
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
    elif isinstance(card.source, LocalCheckpoint):
        weights = f"sha256:{local_digest(card.source.folder)[:_DIGITS]}"
    elif isinstance(card.source, HubCheckpoint):
        weights = f"hub:{card.source.commit[:_DIGITS]}"
    else:
        weights = f"sha256:{card.source.sha256[:_DIGITS]}"
    return Base(alias=alias, weights=weights, chat=chat)
