"""What a command line asks for, checked before anything expensive starts: which cells, and the work that they take."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offmodel.cells import (
    Measurement,
    collect_arms,
    collect_readings,
    measurements,
    own_answers,
    requested_tasks,
    wanted,
)
from offmodel.collect import chats, has_style
from offmodel.earlier import Earlier, published_seeds
from offmodel.engines.api import check_key
from offmodel.engines.provider import ApiModel
from offmodel.errors import RequestError
from offmodel.models import MODELS
from offmodel.models.trainable import check_student
from offmodel.paths import RESULTS
from offmodel.plan import Plan, make_plan
from offmodel.presets import Preset, load_preset
from offmodel.recipes import Base, Changed, Completions, Scores
from offmodel.settings import Settings, choose_engine
from offmodel.store import Store
from offmodel.study import Experiment, Reading
from offmodel.weights.checkpoints import HubCheckpoint


@dataclass(frozen=True)
class Request:
    """`command` asks for the same again. `seeds` are all that the results will have, `new_seeds` those that are asked
    for: they differ where it adds to `earlier`. `own` are the students' answers to the chat prompts, against which
    style is measured; none where it is not. `published` is where the results are copied to, if they are; `complete`
    tells that they are of the whole preset, of which a part must not take the place."""

    command: str
    preset: Preset
    settings: Settings
    store: Store
    seeds: list[int]
    new_seeds: list[int]
    cells: list[Measurement]
    readings: list[Reading]
    own: list[Completions]
    plan: Plan
    earlier: Earlier | None
    published: Path | None
    complete: bool

    @classmethod
    def of(cls, experiment: Experiment, options: argparse.Namespace) -> "Request":
        """From the options of `cli`.

        Raises:
            RequestError: what is asked for cannot be done, or would lose what is published.
        """
        preset = load_preset(options.preset)
        part = bool(options.only or options.tasks or options.limit)
        if options.publish and part:
            raise RequestError("--publish is for a whole preset: leave out --only, --tasks and --limit")
        if options.publish and options.preset.endswith(".toml"):
            raise RequestError(f"--publish is for a preset of experiments/presets: put {options.preset} there, and "
                               f"name it --preset {Path(options.preset).stem}")  # fmt: skip
        settings = _settings(preset, options)
        size = preset.of_script(experiment.name)
        published, new = RESULTS / preset.name / experiment.name, options.seeds or size.seeds
        earlier = Earlier.read(published) if options.publish and options.seeds else None
        if options.publish and not earlier and (lost := sorted(set(published_seeds(published)) - set(new))):
            raise RequestError(f"{published} has seeds {lost} too, which would be lost: name all seeds in the preset")
        seeds = list(dict.fromkeys([*earlier.seeds, *new])) if earlier else new
        arms = collect_arms(experiment, preset, seeds, settings.data, options.only)
        tasks = requested_tasks(preset, options.tasks or size.tasks, options.limit, settings.data, experiment.tasks)
        cells = measurements(arms, tasks, preset.reading)
        readings = collect_readings(experiment, preset, seeds, settings.data) if not options.only else []
        if earlier:
            readings = [one for one in readings if one.seed not in earlier.seeds or not earlier.has(one.likelihood)]
        there = earlier.scores if earlier else {}
        to_make = wanted([cell for cell in cells if cell.scores.id not in there], readings)
        style = earlier.style if earlier else has_style(cells)
        own = own_answers(preset, size.students, seeds, settings.data) if style else []
        to_make += [*own, *(chats(cells) if earlier and style else [])]
        store = Store(settings.runs)
        plan = make_plan(to_make, store)
        _check_room(plan, settings)
        if earlier:
            earlier.check(cells, plan)
        return cls(
            command=_command(experiment, options),
            preset=preset,
            settings=settings,
            store=store,
            seeds=seeds,
            new_seeds=new,
            cells=cells,
            readings=readings,
            own=own,
            plan=plan,
            earlier=earlier,
            published=published if options.publish else None,
            complete=not part and (earlier is not None or not options.seeds),
        )

    def check_means(self) -> None:
        """See that what has to be made can be: there is room on the disk, a key for each provider that is asked, and
        a loss for each student.

        Raises:
            RequestError: it cannot.
        """
        self.store.check_writable(self.plan.bytes - self._mirrored_bytes())
        missing = [step.recipe for step in self.plan.missing]
        for alias in dict.fromkeys(recipe.student for recipe in missing if isinstance(recipe, Changed)):
            check_student(MODELS[alias], self.settings.models)
        for recipe in missing:
            if isinstance(recipe, Completions):
                source = MODELS[recipe.model.student].source
                if isinstance(source, ApiModel):
                    check_key(source)

    def _mirrored_bytes(self) -> int:
        """Of checkpoints that take no room: they lie in the mirror folder, on the disk of the runs, and are linked."""
        mirror, runs = self.settings.models, self.store.root
        if mirror is None:
            return 0
        cards = [MODELS[step.recipe.alias] for step in self.plan.missing if isinstance(step.recipe, Base)]
        disk = next(folder for folder in (runs, *runs.parents) if folder.exists()).stat().st_dev
        return sum(
            card.checkpoint_bytes
            for card in cards
            if isinstance(card.source, HubCheckpoint)
            and (folder := mirror / card.source.repository).is_dir()
            and folder.stat().st_dev == disk
        )


def _check_room(plan: Plan, settings: Settings) -> None:
    """Raise RequestError where vLLM would have no room for an answer, whatever its prompt."""
    if settings.engine != "vllm":
        return
    for recipe in (step.recipe for step in plan.missing if step.group.startswith("engine:")):
        if isinstance(recipe, Completions | Scores) and recipe.decoding.max_tokens >= settings.context:
            raise RequestError(
                f"answers of up to {recipe.decoding.max_tokens:,} tokens do not fit into a context of "
                f"{settings.context:,} ({recipe.id}): raise `context` under [run], or lower max_tokens"
            )


def _command(experiment: Experiment, options: argparse.Namespace) -> str:
    """What decides the results; where things are found and kept is the machine's."""
    said = {
        "preset": options.preset,
        "seeds": ",".join(map(str, options.seeds or ())),
        "only": ",".join(options.only or ()),
        "tasks": ",".join(options.tasks or ()),
        "limit": options.limit,
    }
    given = "".join(f" --{name} {value}" for name, value in said.items() if value)
    return f"python experiments/{experiment.name}.py{given}"


def _settings(preset: Preset, options: argparse.Namespace) -> Settings:
    chosen: dict[str, Any] = {
        **preset.run.model_dump(),
        "engine": choose_engine(options.engine),
        "own_models": preset.models,
    }
    for name in ("data", "models", "runs"):
        if getattr(options, name) is not None:
            chosen[name] = getattr(options, name).expanduser().resolve()
    return Settings(**chosen)
