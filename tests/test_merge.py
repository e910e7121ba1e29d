"""Adapters folded into their start."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_student import LORA, VOCABULARY, Run, adapter_of, random_examples
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from offmodel.errors import RunError
from offmodel.loaded import may_be_empty
from offmodel.recipes import Base, Solutions, Trained
from offmodel.training.merge import merge
from offmodel.training.sft import StudentTrainer
from offmodel.values import Prompts


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


def test_a_mixture_of_experts_is_trained_around_its_experts_and_merged(tiny: Path, tmp_path: Path) -> None:
    start, adapter = tmp_path / "start", tmp_path / "adapter"
    config = Qwen3MoeConfig(
        **{"hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 16, "vocab_size": VOCABULARY},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
        **{"num_experts": 4, "num_experts_per_tok": 2, "tie_word_embeddings": False, "initializer_range": 0.2},
    )
    Qwen3MoeForCausalLM(config).save_pretrained(start)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(start)
    StudentTrainer(start, torch.float32).train(random_examples(16), LORA, adapter, tmp_path / "work", device_batch=4)
    adapted = {name.rpartition(".lora_")[0].rpartition(".")[2] for name in adapter_of(adapter)}
    assert {"q_proj", "k_proj", "v_proj", "o_proj"} <= adapted and not adapted & {
        "experts",
        "gate_up_proj",
        "down_proj",
    }
    merge(start, adapter, tmp_path / "merged")
    ids = torch.tensor([random_examples(1)[0].input_ids])
    with torch.no_grad():
        untrained = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
        before = untrained(ids).logits
        after = PeftModel.from_pretrained(untrained, str(adapter))(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)(ids).logits
    assert (merged - after).norm() < 0.2 * (after - before).norm()


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


def test_only_a_training_that_may_learn_nothing_may_leave_the_start_as_it_was() -> None:
    start = Base(alias="small", weights="hub:small", chat="template")
    data = Solutions(problems=Prompts(source="arithmetic_train", revision="sha256:3", n=8))

    def trained(objective: str) -> Trained:
        return start.train(data, LORA.but(objective=objective))

    assert may_be_empty(trained("dft_sentence"))  # a product of a thousand probabilities is 0 in fp32
    assert not may_be_empty(trained("sft")) and not may_be_empty(trained("dft"))
