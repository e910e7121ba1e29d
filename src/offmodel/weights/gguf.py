"""Turn a GGUF file into a plain Hugging Face folder (safetensors, bf16) that needs no GGUF support to load.

The dequantisation and the tensor names are those of ``transformers``; this module mends what its conversion loses
(https://huggingface.co/docs/transformers/gguf): digit splitting, the BOS token, end-of-turn ids, and the quantiser
that stays on the model and keeps it from being saved.
"""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offmodel.errors import RequestError, RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# Digits next to spaces and letters, several scripts, an emoji (byte fallback), runs of spaces and newlines.
_PROBE = "Year 2024:\n\n  naïve café, x=12345 + 6.7 → 東京 \U0001f600\tdone"


def convert(
    gguf: Path,
    folder: Path,
    *,
    split_digits: bool = False,
    end_of_turn: tuple[str, ...] = (),
    log: Callable[[str], None] = print,
) -> None:
    """Write ``folder`` with config, generation config, weights, tokenizer and (if the GGUF has one) chat template.

    The folder appears under its name only when it is complete and has been read back: same tensors, same token ids,
    input and output embeddings shared exactly where the GGUF stores no separate output matrix.

    Args:
        gguf: a GGUF file of a decoder-only language model that ``transformers`` can dequantise.
        folder: where to write; must be absent or empty.
        split_digits: split numbers into single digits before the BPE merges. Needed where the GGUF names a
            pre-tokeniser that does so (``smollm``), which the conversion replaces by the GPT-2 one.
        end_of_turn: tokens that end an answer, in addition to the GGUF's own end-of-sequence token.
        log: called with one line per step.

    Raises:
        RequestError: ``gguf`` is not a GGUF file, ``folder`` is not empty, or a token of ``end_of_turn`` is unknown.
        RunError: weights are missing from the GGUF, or the written folder does not read back as it was written.
    """
    _check_magic(gguf)
    if folder.exists() and any(folder.iterdir()):
        raise RequestError(f"{folder} is not empty; delete it to convert {gguf.name} again")
    log(f"reading the tokenizer of {gguf.name}")
    tokenizer = _tokenizer(gguf, split_digits)
    end_ids = _end_ids(tokenizer, end_of_turn)
    log(f"dequantising {gguf.name} to bf16")
    model = _dequantised(gguf)
    _set_special_ids(model, tokenizer, end_ids)

    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # One file, however large: these models are small, and one file needs no index.
    model.save_pretrained(partial, max_shard_size="1TB")
    tokenizer.save_pretrained(partial)
    log(f"reading {folder.name} back")
    _check_weights(model, *_load(partial, dtype="auto"))
    _check_tokenizer(tokenizer, partial)
    partial.replace(folder)


def _check_magic(gguf: Path) -> None:
    try:
        with gguf.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise RequestError(f"cannot read {gguf}: {error.strerror}; check the path") from error
    if magic != b"GGUF":
        raise RequestError(f"{gguf} is not a GGUF file (it starts with {magic!r}); check the path or fetch it again")


def _tokenizer(gguf: Path, split_digits: bool) -> "PreTrainedTokenizerFast":
    """The GGUF's tokenizer with digit splitting and BOS put back.

    Returned as the generic class: model-specific classes (Gemma's, Llama's) rebuild their pipeline from the
    vocabulary on loading and would drop both again.
    """
    from tokenizers import pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf.reader import read_gguf_metadata

    metadata, _ = read_gguf_metadata(str(gguf))
    source = PreTrainedTokenizerFast.from_pretrained(gguf.parent, gguf_file=gguf.name)
    backend = source.backend_tokenizer
    if split_digits:
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])
    # SentencePiece models are trained with BOS; llama.cpp adds it for them unless the file says otherwise.
    if metadata.get("tokenizer.ggml.add_bos_token", metadata["tokenizer.ggml.model"] == "llama"):
        bos = source.bos_token
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, source.bos_token_id)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=source.bos_token,
        eos_token=source.eos_token,
        unk_token=source.unk_token,
        # Some models have no padding token of their own. Padding is masked by position, so the id does not matter.
        pad_token=source.pad_token or source.eos_token,
        chat_template=source.chat_template,
        clean_up_tokenization_spaces=False,
    )


def _end_ids(tokenizer: "PreTrainedTokenizerFast", end_of_turn: tuple[str, ...]) -> list[int]:
    """Ids that end an answer: the tokenizer's EOS first, then those of ``end_of_turn``, each once."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    unknown = [token for token in end_of_turn if token not in vocabulary]
    if unknown:
        raise RequestError(f"end_of_turn token {unknown[0]!r} is not in the GGUF's vocabulary; correct its spelling")
    return list(dict.fromkeys(vocabulary[token] for token in (str(tokenizer.eos_token), *end_of_turn)))


def _load(folder: Path, **options: Any) -> tuple["PreTrainedModel", dict[str, Any]]:
    """A model and what its loading left out: ``missing_keys``, ``unexpected_keys``, …"""
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    return loaded


def _dequantised(gguf: Path) -> "PreTrainedModel":
    """The model in bf16, as if it had never been quantised."""
    import torch
    from transformers import GgufConfig

    unpacked = GgufConfig(dequantize=True)
    model, info = _load(gguf.parent, gguf_file=gguf.name, quantization_config=unpacked, dtype=torch.bfloat16)
    if missing := sorted(info["missing_keys"]):  # transformers would leave these at their random initial values
        raise RunError(f"{gguf} lacks {len(missing)} weights ({missing[0]}, …); its architecture is not supported")
    # What marks the model as quantised outlives the dequantisation and makes save_pretrained refuse it.
    for leftover in ("hf_quantizer", "is_quantized", "quantization_method"):
        vars(model).pop(leftover, None)
    for leftover in ("quantization_config", "_model_name_or_path"):
        vars(model.config).pop(leftover, None)
    return model


def _set_special_ids(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", end_ids: list[int]) -> None:
    from transformers import GenerationConfig

    eos = end_ids[0] if len(end_ids) == 1 else end_ids
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": eos, "pad_token_id": tokenizer.pad_token_id}
    for name, value in ids.items():
        setattr(model.config, name, value)
    model.generation_config = GenerationConfig(**ids)


def _check_weights(written: "PreTrainedModel", reloaded: "PreTrainedModel", info: dict[str, Any]) -> None:
    import torch

    if info["missing_keys"] or info["unexpected_keys"]:
        raise RunError(f"the written weights do not fit the written config: {info}")
    before, after = written.state_dict(), reloaded.state_dict()
    for name, tensor in before.items():
        # A sum is finite only if every term is, and is much faster than isfinite on bf16.
        if not math.isfinite(tensor.sum(dtype=torch.float32).item()):
            raise RunError(f"{name} has values that are not finite after dequantisation; the GGUF is damaged")
        if not torch.equal(tensor, after[name]):
            raise RunError(f"{name} does not read back as it was written; check the disk and convert again")
    embedding, head = reloaded.get_input_embeddings(), reloaded.get_output_embeddings()
    tied = head is not None and embedding.weight is head.weight
    if tied != written.config.tie_word_embeddings:
        raise RunError(f"tie_word_embeddings is {written.config.tie_word_embeddings}, but the reloaded model disagrees")


def _check_tokenizer(written: "PreTrainedTokenizerFast", folder: Path) -> None:
    from transformers import AutoTokenizer

    reloaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    before, after = written(_PROBE)["input_ids"], reloaded(_PROBE)["input_ids"]
    if before != after:
        raise RunError(f"the tokenizer does not read back as it was written: {before} became {after}")
    if written.chat_template != reloaded.chat_template:
        raise RunError("the chat template does not read back as it was written; convert again")
