"""transformers' own `generate`: the same work as vLLM, several times slower, where vLLM is not installed."""

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offmodel.engines.base import Generation, OnProgress, Stop
from offmodel.engines.loops import filled, loop
from offmodel.values import Decoding

if TYPE_CHECKING:
    import torch


class TransformersEngine:
    """Generates in fixed batches, longest prompts first, so that little of a batch is padding."""

    name = "transformers"
    context: int | None = None

    def __init__(self, folder: Path, max_num_seqs: int, fill_loops: bool):
        import torch
        from transformers import AutoTokenizer

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        # Batches are padded: beyond 16 rows a CPU spends more on the longest answer than it gains, and beyond 32 a GPU
        # has no room for theirs.
        self._batch = min(max_num_seqs, 32 if self._device == "cuda" else 16)
        self._fill_loops = fill_loops
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.load(folder)

    def load(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig

        self._model: Any = None  # two models at once may not fit
        gc.collect()
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, use_safetensors=True, local_files_only=True
        )
        self._model = model.to(self._device).eval()  # pyright: ignore[reportArgumentType]
        # Makers publish penalties and samplers with their models; a recipe's decoding says all there is, as with vLLM.
        self._model.generation_config = GenerationConfig(eos_token_id=model.generation_config.eos_token_id)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        decoding: Decoding,
        stop: Stop,
        on_progress: OnProgress,
    ) -> list[Generation]:
        import torch

        eos = self._model.generation_config.eos_token_id
        ends = {*stop.token_ids, *(eos if isinstance(eos, list) else [eos] if eos is not None else [])}
        options: dict[str, Any] = {"do_sample": False}
        fill = self._fill_loops and decoding.temperature == 0
        results: dict[int, Generation] = {}
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        for rows in (order[i : i + self._batch] for i in range(0, len(order), self._batch)):
            ids, mask = self._pad([prompts[i] for i in rows])
            ended = [self._says(stop.strings)] if stop.strings else []
            ended += [lambda answer: loop(answer) > 0] if fill else []
            options["stopping_criteria"] = [_once(one, ids.shape[1]) for one in ended]
            if decoding.temperature > 0:
                options["logits_processor"] = _sampling(decoding, [seeds[i] for i in rows])
            with torch.inference_mode():
                output = self._model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    max_new_tokens=decoding.max_tokens,
                    eos_token_id=sorted(ends),
                    pad_token_id=min(ends),
                    **options,
                )
            for row, new in zip(rows, output[:, ids.shape[1] :].tolist(), strict=True):
                results[row] = self._generation(new, ends, stop, decoding.max_tokens if fill else None)
            on_progress(len(rows), sum(results[row].tokens - results[row].filled for row in rows))
        return [results[i] for i in range(len(prompts))]

    def next_logprobs(self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> list[list[float]]:
        import torch

        scores: dict[int, list[float]] = {}
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        for rows in (order[i : i + self._batch] for i in range(0, len(order), self._batch)):
            ids, mask = self._pad([prompts[i] for i in rows])
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            with torch.inference_mode():
                logits = self._model(
                    input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1
                ).logits[:, -1]
            logprobs = logits.float().log_softmax(-1)
            for position, row in enumerate(rows):
                scores[row] = logprobs[position, list(candidates[row])].tolist()
        return [scores[i] for i in range(len(prompts))]

    def _pad(self, prompts: list[Sequence[int]]) -> tuple[Any, Any]:
        """Ids and attention mask, each `(batch, longest prompt)`, padded on the left: all answers start together."""
        import torch

        longest = max(map(len, prompts))
        ids = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        return torch.tensor(ids, device=self._device), torch.tensor(mask, device=self._device)

    def _says(self, strings: Sequence[str]) -> Callable[[list[int]], bool]:
        """Whether an answer has just come to say one of the strings. Those that `generate` takes it finds across the
        border of prompt and answer too, where a prompt's last line and an answer's first make one together."""
        tail = max(map(len, strings)) + 8  # a token is a character or more, but for the parts of rare ones

        def says(answer: list[int]) -> bool:
            text = self._tokenizer.decode(answer[-tail:], skip_special_tokens=True)
            return any(string in text for string in strings)

        return says

    def _generation(self, new: list[int], ends: set[int], stop: Stop, fill_to: int | None) -> Generation:
        end = next((i for i, token in enumerate(new) if token in ends), None)
        kept = new if end is None else new[:end]
        # What follows a loop is padding, for which an end token serves.
        if fill_to is not None and (tokens := loop(kept)):
            ids = filled(kept, tokens, fill_to)
            text = self._tokenizer.decode(ids, skip_special_tokens=True)
            return Generation(text, len(ids), "length", ids, len(ids) - len(kept))
        text = self._tokenizer.decode(kept, skip_special_tokens=True)
        cuts = [position for string in stop.strings if (position := text.find(string)) >= 0]
        if cuts:
            return Generation(text[: min(cuts)], len(kept), "stop", tuple(kept))
        made = new if end is None else new[: end + 1]
        return Generation(text, len(made), "length" if end is None else "stop", tuple(made))


def _once(ended: Callable[[list[int]], bool], prompt: int) -> Any:
    """What ends a row once its answer, the ids behind `prompt` tokens, has come to its end."""
    import torch
    from transformers import StoppingCriteria

    class Once(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            return torch.tensor([ended(row) for row in input_ids[:, prompt:].tolist()], device=input_ids.device)

    return Once()


def _sampling(decoding: Decoding, seeds: list[int]) -> Any:
    """Processors after which the largest score of each row is a sample, drawn with the row's own seed.

    Adding standard Gumbel noise to log-probabilities and taking the largest samples from them (the Gumbel-max trick:
    Gumbel 1954; Maddison et al. 2014, arXiv 1411.0030); `generate` itself draws all rows from one generator.
    """
    import torch
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def add_noise(ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        uniform = torch.stack([torch.rand(scores.shape[1], generator=generator) for generator in generators])
        return scores.float() - (-uniform.clamp(min=1e-20).log()).log().to(scores.device)

    warpers: list[Any] = [TemperatureLogitsWarper(decoding.temperature)]
    if decoding.top_p < 1:
        warpers.append(TopPLogitsWarper(decoding.top_p))
    return LogitsProcessorList([*warpers, add_noise])
