"""vLLM in this process, CPU or GPU build.

Weights are swapped whole and in place (`reload_weights`): in the CPU engine LoRA requests run about 2.6 times slower
and answer base requests with the last adapter when a batch mixes them, while a swap takes under a second.
"""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from offmodel.engines.base import Generation, OnProgress, Stop
from offmodel.engines.loops import LONGEST, SHORTEST, TIMES, filled, loop
from offmodel.errors import RunError
from offmodel.values import Decoding

HALF = "\ufffd"  # how a tokenizer writes bytes that are no whole character


def _configure_environment() -> None:
    # In-process scheduling is deterministic; with a separate engine core, batches depend on when requests arrive.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB
    # The default leaves one core to the API server, which this process does not have.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0))))


class VllmEngine:
    """The engine of the study wherever vLLM is installed."""

    name = "vllm"

    def __init__(self, folder: Path, max_num_seqs: int, context: int, gpu_memory: float, fill_loops: bool):
        _configure_environment()
        import torch
        from transformers import AutoConfig
        from vllm import LLM

        self._fill_loops = fill_loops
        config = AutoConfig.from_pretrained(folder)
        of_text = config.get_text_config()  # of a model that sees too, the part that reads
        context = min(of_text.max_position_embeddings, context)
        self.context: int | None = context
        where: dict[str, Any] = {"gpu_memory_utilization": gpu_memory}
        if not torch.cuda.is_available():
            where = {
                # Compiling costs start-up time and gains nothing.
                "enforce_eager": True,
                # A prompt split over two steps rewinds its seeded generator, which torch cannot do on a CPU (vLLM 0.32:
                # "CPU Generator does not use offset"), so prompts are read whole.
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": context,
            }
        if of_text is not config:
            where["language_model_only"] = True  # else it looks for the files that say how images are read
        self._llm: Any = LLM(
            str(folder),
            dtype="bfloat16",
            load_format="safetensors",
            max_model_len=context,
            max_num_seqs=max_num_seqs,
            disable_log_stats=True,
            seed=0,
            **where,
        )
        self._requests = itertools.count()

    def load(self, folder: Path) -> None:
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
        self._forget()

    def _forget(self) -> None:
        """Empty the prefix cache: what it holds is of the weights before, and a warm one changes how prompts are
        batched, and with it the last bits."""
        if not self._llm.reset_prefix_cache():
            raise RunError("vLLM did not empty its prefix cache, which may hold tokens of other weights")

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        decoding: Decoding,
        stop: Stop,
        on_progress: OnProgress,
    ) -> list[Generation]:
        from vllm import SamplingParams
        from vllm.sampling_params import RepetitionDetectionParams

        loops = RepetitionDetectionParams(max_pattern_size=LONGEST, min_pattern_size=SHORTEST, min_count=TIMES)
        params = [
            SamplingParams(
                repetition_detection=loops if self._fill_loops and decoding.temperature == 0 else None,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                max_tokens=decoding.max_tokens,
                seed=seed if decoding.temperature > 0 else None,
                stop=list(stop.strings),
                stop_token_ids=list(stop.token_ids),
            )
            for seed in seeds
        ]
        self._forget()
        outputs = self._finish(prompts, params, on_progress)
        return [self._generation(out, decoding.max_tokens) for out in outputs]

    def _generation(self, out: Any, length: int) -> Generation:
        """An answer of at most `length` tokens."""
        if out.finish_reason != "repetition":
            reason = "length" if out.finish_reason == "length" else "stop"
            return Generation(out.text, len(out.token_ids), reason, tuple(out.token_ids))
        ids = filled(out.token_ids, loop(out.token_ids), length)
        whole, computed = (
            self._llm.get_tokenizer().decode(one, skip_special_tokens=True) for one in (ids, out.token_ids)
        )
        # What vLLM has decoded stays as it is; half a character at the end is left out, as it does.
        text = out.text + whole[len(computed.rstrip(HALF)) :].rstrip(HALF)
        return Generation(text, len(ids), "length", ids, len(ids) - len(out.token_ids))

    def next_logprobs(self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> list[list[float]]:
        from vllm import SamplingParams

        params = [SamplingParams(temperature=0, max_tokens=1, logprob_token_ids=list(ids)) for ids in candidates]
        self._forget()
        outputs = self._finish(prompts, params, lambda answers, tokens: None)
        return [
            [float(out.logprobs[0][token].logprob) for token in ids]
            for out, ids in zip(outputs, candidates, strict=True)
        ]

    def _finish(self, prompts: Sequence[Sequence[int]], params: list[Any], on_progress: OnProgress) -> list[Any]:
        """The one completion of each prompt, in order; told to `on_progress` step by step."""
        from vllm import TokensPrompt
        from vllm.sampling_params import RequestOutputKind

        engine = self._llm.llm_engine
        # Never the same id twice: what a failed call left behind must not pass for an answer of the next.
        names = [str(next(self._requests)) for _ in prompts]
        finished: dict[str, Any] = {}
        try:
            for name, ids, param in zip(names, prompts, params, strict=True):
                param.output_kind = RequestOutputKind.FINAL_ONLY
                engine.add_request(name, TokensPrompt(prompt_token_ids=list(ids)), param)
            of_finished, told = 0, 0
            while engine.has_unfinished_requests():
                ended = {output.request_id: output.outputs[0] for output in engine.step() if output.finished}
                finished |= ended
                of_finished += sum(len(one.token_ids) for one in ended.values())
                # Outputs come at an answer's end; what is made of the others stands where their text is put together.
                others = engine.output_processor.request_states.values()
                made = of_finished + sum(one.detokenizer.num_output_tokens() for one in others)
                on_progress(len(ended), made - told)
                told = made
        except BaseException:
            engine.abort_request([name for name in names if name not in finished])
            raise
        return [finished[name] for name in names]
