"""Teachers that are asked over the network, by any OpenAI-compatible chat-completions URL.

`$OFFMODEL_API_KEY` holds the key and `$OFFMODEL_API_URL` another address, such as one's own vLLM server's.
"""

from offmodel.engines.provider import ApiModel
from offmodel.models.card import ModelCard

NETWORK = (
    ModelCard(
        alias="gpt-4.1-nano",
        title="GPT-4.1 nano (2025-04-14), asked over the network",
        family="GPT-4.1",
        parameters=0,
        licence="terms of the provider",
        source=ApiModel(name="gpt-4.1-nano-2025-04-14", url="https://api.openai.com/v1"),
        chat="api",
        download_bytes=0,
        checkpoint_bytes=0,
        generated_per_second=0,
        trained_per_second=0,
    ),
)
