"""Teachers that are asked over the network, by any OpenAI-compatible chat-completions URL.

`$OFFMODEL_API_KEY` holds the key and `$OFFMODEL_API_URL` another address at which the same models are asked.
"""

from offmodel.engines.provider import ApiModel
from offmodel.models.card import ModelCard


def network_card(alias: str, title: str, family: str, licence: str, source: ApiModel) -> ModelCard:
    """A model whose weights are not here: it has no sizes and no speeds."""
    return ModelCard(
        alias=alias,
        title=title,
        family=family,
        parameters=0,
        licence=licence,
        source=source,
        chat="api",
        download_bytes=0,
        checkpoint_bytes=0,
        generated_per_second=0,
        trained_per_second=0,
        template_options=source.template_options,
    )


_NANO = ApiModel(name="gpt-4.1-nano-2025-04-14", url="https://api.openai.com/v1")

NETWORK = (
    network_card(
        "gpt-4.1-nano", "GPT-4.1 nano (2025-04-14), asked over the network", "GPT-4.1", "terms of the provider", _NANO
    ),
)
