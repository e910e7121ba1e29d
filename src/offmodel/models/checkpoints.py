"""Checkpoints of the hub, for one GPU and more.

Commits are those under which others publish with these models. The speeds are what two CPU cores would do, by size:
they only let `--plan` say that a GPU is wanted.
"""

from typing import Any

from offmodel.models.card import ModelCard
from offmodel.weights.checkpoints import HubCheckpoint, LocalCheckpoint

_THINKING = {"template_options": {"enable_thinking": True}}
_NOT_THINKING = {"template_options": {"enable_thinking": False}}


def checkpoint_card(
    alias: str,
    title: str,
    family: str,
    parameters: int,
    licence: str,
    source: HubCheckpoint | LocalCheckpoint,
    **quirks: Any,
) -> ModelCard:
    """The card of a checkpoint whose weights have 16 bits each; its speeds are guessed from its size."""
    return ModelCard(
        alias=alias,
        title=title,
        family=family,
        parameters=parameters,
        licence=licence,
        source=source,
        chat="template",
        download_bytes=2 * parameters if isinstance(source, HubCheckpoint) else 0,
        checkpoint_bytes=2 * parameters,
        generated_per_second=1.5e11 / parameters,
        trained_per_second=6e10 / parameters,
        **quirks,
    )


def _card(
    alias: str, title: str, family: str, parameters: int, licence: str, repository: str, commit: str, **quirks: Any
) -> ModelCard:
    return checkpoint_card(alias, title, family, parameters, licence, HubCheckpoint(repository, commit), **quirks)


CHECKPOINTS = (
    ModelCard(
        alias="gpt-oss-20b",
        title="gpt-oss-20b (MXFP4), as a teacher",
        family="gpt-oss",
        parameters=20_914_757_184,
        licence="Apache-2.0",
        source=HubCheckpoint("openai/gpt-oss-20b", "6cee5e81ee83917806bbde320786a8fb61efebee"),
        chat="template",
        download_bytes=13_800_000_000,
        checkpoint_bytes=13_800_000_000,
        generated_per_second=7,
        trained_per_second=3,
    ),
    _card(
        *("qwen2.5-0.5b", "Qwen2.5-0.5B-Instruct", "Qwen2.5", 494_032_768, "Apache-2.0"),
        *("Qwen/Qwen2.5-0.5B-Instruct", "7ae557604adf67be50417f59c2c2f167def9a775"),
    ),
    _card(
        *("qwen2.5-1.5b", "Qwen2.5-1.5B-Instruct", "Qwen2.5", 1_543_714_304, "Apache-2.0"),
        *("Qwen/Qwen2.5-1.5B-Instruct", "989aa7980e4cf806f80c7fef2b1adb7bc71aa306"),
    ),
    _card(
        *("qwen2.5-math-1.5b", "Qwen2.5-Math-1.5B", "Qwen2.5", 1_543_714_304, "Apache-2.0"),
        *("Qwen/Qwen2.5-Math-1.5B", "4a83ca6e4526a4f2da3aa259ec36c259f66b2ab2"),
    ),
    _card(
        *("qwen2.5-3b", "Qwen2.5-3B-Instruct", "Qwen2.5", 3_085_938_688, "Qwen Research License"),
        *("Qwen/Qwen2.5-3B-Instruct", "aa8e72537993ba99e69dfaafa59ed015b17504d1"),
    ),
    _card(
        *("qwen3-0.6b", "Qwen3-0.6B, not thinking", "Qwen3", 596_049_920, "Apache-2.0"),
        *("Qwen/Qwen3-0.6B", "c1899de289a04d12100db370d81485cdf75e47ca"),
        **_NOT_THINKING,
    ),
    _card(
        *("qwen3-1.7b", "Qwen3-1.7B, not thinking", "Qwen3", 1_720_574_976, "Apache-2.0"),
        *("Qwen/Qwen3-1.7B", "70d244cc86ccca08cf5af4e1e306ecf908b1ad5e"),
        **_NOT_THINKING,
    ),
    _card(
        *("llama3.2-1b", "Llama-3.2-1B-Instruct", "Llama 3", 1_235_814_400, "Llama 3.2 Community License"),
        *("meta-llama/Llama-3.2-1B-Instruct", "9213176726f574b556790deb65791e0c5aa438b6"),
    ),
    _card(
        *("llama3.2-3b", "Llama-3.2-3B-Instruct", "Llama 3", 3_212_749_824, "Llama 3.2 Community License"),
        *("meta-llama/Llama-3.2-3B-Instruct", "0cb88a4f764b7a12671c53f0838cd831a0843b95"),
    ),
    _card(
        *("gemma3-1b", "Gemma-3-1B-it", "Gemma 3", 999_885_952, "Gemma Terms of Use"),
        *("google/gemma-3-1b-it", "dcc83ea841ab6100d6b47a070329e1ba4cf78752"),
    ),
    _card(
        *("olmo2-1b", "OLMo-2-1B-Instruct (0425)", "OLMo 2", 1_484_916_736, "Apache-2.0"),
        *("allenai/OLMo-2-0425-1B-Instruct", "48d788eca847d4d7548f375ad03d3c9312f6139e"),
    ),
    _card(
        *("smollm2-360m", "SmolLM2-360M-Instruct", "SmolLM2", 361_821_120, "Apache-2.0"),
        *("HuggingFaceTB/SmolLM2-360M-Instruct", "a10cc1512eabd3dde888204e902eca88bddb4951"),
    ),
    _card(
        *("smollm2-1.7b", "SmolLM2-1.7B-Instruct", "SmolLM2", 1_711_376_384, "Apache-2.0"),
        *("HuggingFaceTB/SmolLM2-1.7B-Instruct", "31b70e2e869a7173562077fd711b654946d38674"),
    ),
    _card(
        *("llama3.1-8b", "Llama-3.1-8B-Instruct", "Llama 3", 8_030_261_248, "Llama 3.1 Community License"),
        *("meta-llama/Llama-3.1-8B-Instruct", "0e9e39f249a16976918f6564b8830bc894c89659"),
    ),
    _card(
        *("qwen3-8b", "Qwen3-8B, thinking", "Qwen3", 8_190_735_360, "Apache-2.0"),
        *("Qwen/Qwen3-8B", "b968826d9c46dd6066d109eabc6255188de91218"),
        **_THINKING,
    ),
    _card(
        *("qwen3-30b-a3b", "Qwen3-30B-A3B, not thinking", "Qwen3", 30_532_122_624, "Apache-2.0"),
        *("Qwen/Qwen3-30B-A3B", "ad44e777bcd18fa416d9da3bd8f70d33ebb85d39"),
        **_NOT_THINKING,
    ),
)
