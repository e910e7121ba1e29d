"""Adapters folded into their start."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_student import LORA, VOCABULARY, Run, adapter_of, random_examples
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from offmodel.errors import RunError
from offmodel.training.merge import merge


def test_a_merged_student_answers_like_its_adapter(tiny: Path, run: Run, tmp_path: Path) -> None:
    adapter = run(random_examples(16))
    merge(tiny, adapter, tmp_path / "merged")
    ids = torch.tensor([random_examples(1)[0].input_ids])
    with torch.no_grad():
        start = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
        untrained = start(ids).logits
        adapted = PeftModel.from_pretrained(start, str(adapter))(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)(ids).logits
    moved = (adapted - untrained).norm()
    assert (merged - adapted).norm() < 0.1 * moved  # bf16 keeps three digits of each weight
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").vocab_size == VOCABULARY
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype == torch.bfloat16


def test_merging_adds_the_scaled_product_in_fp32(tiny: Path, run: Run, tmp_path: Path) -> None:
    adapter = run(random_examples(16))
    merge(tiny, adapter, tmp_path / "merged")
    factors, merged, start = (
        adapter_of(adapter),
        load_file(tmp_path / "merged/model.safetensors"),
        load_file(tiny / "model.safetensors"),
    )
    name = "model.layers.1.mlp.down_proj"
    b, a = (factors[f"base_model.model.{name}.lora_{factor}.weight"] for factor in "BA")
    expected = start[f"{name}.weight"] + (LORA.alpha / LORA.rank) * b @ a
    assert torch.equal(merged[f"{name}.weight"], expected.to(torch.bfloat16))
    embedding = "model.embed_tokens.weight"
    assert torch.equal(merged[embedding], start[embedding].to(torch.bfloat16))


def test_a_sharded_start_is_merged_shard_by_shard(tiny: Path, run: Run, tmp_path: Path) -> None:
    adapter = run(random_examples(16))
    sharded = tmp_path / "sharded"
    LlamaForCausalLM.from_pretrained(tiny).save_pretrained(sharded, max_shard_size="20KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    merge(sharded, adapter, tmp_path / "merged")
    merge(tiny, adapter, tmp_path / "other")
    one, other = (AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("merged", "other"))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_an_adapter_that_changes_nothing_is_refused(tiny: Path, run: Run, tmp_path: Path) -> None:
    adapter = run(random_examples(4))
    idle = {name: weight * ("lora_A" in name) for name, weight in adapter_of(adapter).items()}
    save_file(idle, adapter / "adapter_model.safetensors")
    with pytest.raises(RunError, match="changes no weight"):
        merge(tiny, adapter, tmp_path / "merged")


def test_an_adapter_of_another_model_is_refused(tiny: Path, run: Run, tmp_path: Path) -> None:
    adapter = run(random_examples(4))
    deeper = {name.replace("layers.1", "layers.7"): weight for name, weight in adapter_of(adapter).items()}
    save_file(deeper, adapter / "adapter_model.safetensors")
    with pytest.raises(RunError, match=r"layers\.7.*another model"):
        merge(tiny, adapter, tmp_path / "merged")
