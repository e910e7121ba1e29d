"""A checkpoint in memory, in the precision that the hardware is good at."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from offmodel.errors import RequestError


def compute_dtype() -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32."""
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def load_checkpoint(folder: Path, dtype: torch.dtype) -> Any:
    """The causal model in a checkpoint folder, on the CPU.

    Raises:
        RequestError: the folder is no checkpoint of a causal model, the model reads more than text, or its head is more
            than a matrix.
    """
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise RequestError(f"{folder} is no checkpoint of a causal model: {str(error).splitlines()[0]}") from error
    if model.config.get_text_config() is not model.config:
        raise RequestError(f"{folder}: a model of text and more; it can be a teacher, not a student")
    # The loss multiplies hidden states by the output embedding itself; soft-capped or scaled logits would go unnoticed.
    ids = torch.arange(8)[None]
    with torch.no_grad():
        product = model.base_model(input_ids=ids).last_hidden_state @ model.get_output_embeddings().weight.T
        if not torch.allclose(model(input_ids=ids).logits, product, rtol=1e-2, atol=1e-2):
            raise RequestError(f"{folder}: this architecture's logits are not hidden states times the output embedding")
    return model
