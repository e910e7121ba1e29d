"""The lm-eval tasks: what they ask, whom they score right, and that lm-eval itself runs them."""

import hashlib
import importlib.metadata
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="lm-eval comes with the extras `cpu` and `gpu`")

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from offmodel.data import arithmetic
from offmodel.data.sources import HUB, load_rows
from offmodel.errors import RequestError, RunError
from offmodel.evaluation import punkt
from offmodel.evaluation.registry import SCORERS, TASKS, build_task, load_items, resolve_task
from offmodel.evaluation.tasks import scoring
from offmodel.paths import EVALUATION_TASKS, ROOT

MIRROR = ROOT.parent / "shared" / "data"
needs_mirror = pytest.mark.skipif(not MIRROR.is_dir(), reason=f"no mirror of the public data sets at {MIRROR}")
OWN = [name for name, card in TASKS.items() if card.source not in HUB]
NAMES = [pytest.param(name, marks=() if name in OWN else needs_mirror) for name in TASKS]

# Golds that math-verify does not read as a formula: they are right only word for word.
LITERAL_GOLDS = {
    "1782": r"m_{\max} is no symbol to it",
    "2045": "t(0,4] is an interval times a letter",
}
# A gold that is prose, of which math-verify reads a 0.
MISREAD_GOLD = "1965"


class Rule(LM):
    """Answers every question by a function of its item and its prompt."""

    def __init__(self, rule: Callable[[dict[str, Any], str], str]):
        super().__init__()
        self.rule = rule

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        return [self.rule(request.doc, request.args[0]) for request in requests]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        asked = [(request.doc, *request.arguments) for request in requests]
        chosen = [self.rule(doc, prompt) == continuation.strip() for doc, prompt, continuation in asked]
        return [(-0.1 if right else -9.0, right) for right in chosen]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError


def gold(doc: dict[str, Any], prompt: str) -> str:
    if "choices" in doc:
        return "ABCD"[doc["answer"]]
    return rf"So it is $\boxed{{{doc['answers'][0] if 'answers' in doc else doc['answer']}}}$."


def echo(doc: dict[str, Any], prompt: str) -> str:
    return "A" if "choices" in doc else prompt


def scores_of(name: str, rule: Callable[[dict[str, Any], str], str], n: int | None = None) -> dict[str, float]:
    results: dict[str, Any] | None = simple_evaluate(  # type: ignore[assignment]
        model=Rule(rule),
        tasks=[build_task(name, n, data_dir=MIRROR)],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    assert results is not None
    return {key.removesuffix(",none"): value for key, value in results["results"][f"offmodel_{name}"].items()}


@pytest.mark.parametrize("name", [name for name in OWN if name != "instructions"])
def test_gold_answers_are_right_through_lm_eval(name: str) -> None:
    scores = scores_of(name, gold)
    assert (scores["acc"], scores["answered"]) == (1.0, 1.0)


# A task's floors are part of what its scores mean, so a change of items or scorer that moves one must be seen.
@pytest.mark.parametrize(("name", "floor"), [("arithmetic", 0.0), ("instructions", 0.05), ("knowledge", 0.25)])
def test_echo_stays_at_the_floor_through_lm_eval(name: str, floor: float) -> None:
    assert scores_of(name, echo)["acc"] <= floor


def test_answering_nothing_is_no_answer() -> None:
    for name in ("arithmetic", "instructions"):
        scores = scores_of(name, lambda doc, prompt: " ")
        assert (scores["acc"], scores["answered"]) == (0.0, 0.0)


@needs_mirror
@pytest.mark.parametrize("name", ["math500", "olympiads", "gsm8k"])
def test_every_published_answer_is_right_and_a_stray_one_wrong(name: str) -> None:
    score = scoring.number if name == "gsm8k" else scoring.formula
    docs = [{"tolerance": None, **row} for row in load_rows(name, MIRROR)]
    assert [doc["id"] for doc in docs if score(doc, [gold(doc, "")]) != {"acc": 1, "answered": 1}] == []
    assert [doc["id"] for doc in docs if score(doc, [r"\boxed{-98765.4321}"])["acc"]] == []
    assert [doc["id"] for doc in docs if score(doc, ["It cannot be known."])["acc"]] == []


@needs_mirror
def test_answers_to_other_problems_are_wrong() -> None:
    docs = load_rows("math500", MIRROR)
    pairs = list(zip(docs, docs[1:] + docs[:1], strict=True))
    lucky = [doc["id"] for doc, other in pairs if scoring.formula(doc, [gold(other, "")])["acc"]]
    # "x=5" to a problem whose answer is 5 is right.
    last = [(doc["id"], *(row["answers"][0].rpartition("=")[2] for row in (doc, other))) for doc, other in pairs]
    assert lucky == [row_id for row_id, answer, other in last if answer == other]


@needs_mirror
def test_golds_that_the_scorer_does_not_understand_are_known() -> None:
    from math_verify import parse

    found = {}
    for row in load_rows("olympiads", MIRROR) + load_rows("math500", MIRROR):
        (answer,) = row["answers"]
        parsed = parse(rf"\boxed{{{answer}}}".replace(r"\%", "").replace("%", ""), parsing_timeout=None)  # type: ignore[arg-type]
        if isinstance(parsed[0], str):
            found[row["id"]] = answer
    assert found.keys() == LITERAL_GOLDS.keys()
    (misread,) = [row for row in load_rows("olympiads", MIRROR) if row["id"] == MISREAD_GOLD]
    assert scoring.formula(misread, [r"\boxed{0}"])["acc"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_yaml_and_card_agree(name: str) -> None:
    card = TASKS[name]
    task = build_task(name, 2, data_dir=MIRROR)
    assert task.config.task == card.task
    assert task.config.num_fewshot == 0
    assert card.version == task.VERSION
    expected = {"acc", "answered"} | ({"acc_loose"} if card.scorer == "instructions" else set())
    assert task.aggregation().keys() == task.higher_is_better().keys() == expected
    if card.kind == "generate":
        assert task.OUTPUT_TYPE == "generate_until"
        assert task.config.generation_kwargs == {
            "until": [], "do_sample": False, "temperature": 0.0, "max_gen_toks": card.max_tokens
        }  # fmt: skip
    else:
        assert task.OUTPUT_TYPE == "multiple_choice" and card.chance == 0.25


@pytest.mark.parametrize("name", NAMES)
def test_items_have_what_the_card_promises(name: str) -> None:
    card = TASKS[name]
    rows = load_items(name, card.items, data_dir=MIRROR)
    assert len({row["id"] for row in rows}) == card.items
    assert all(("level" in row) == (card.level is not None) for row in rows)
    assert card.n <= card.items
    # OlympiadBench has a row more in the copies than on the hub.
    assert name in ("arithmetic", "olympiads") or len(load_rows(name, MIRROR)) == card.items


# What the model reads. A change here is another task: raise the card's and the file's version with the digest.
@pytest.mark.parametrize(
    ("name", "doc", "prompt"),
    [
        (
            "arithmetic",
            {"question": "What is 3 + 4?"},
            "What is 3 + 4?\n\nWork it out, and end your reply with the number that is the answer.",
        ),
        (
            "math500",
            {"question": "Find $x_{{2}}$."},
            "Find $x_{{2}}$.\n\nPlease reason step by step, and put your final answer within \\boxed{}.",
        ),
        ("instructions", {"prompt": "Say {{hi}}."}, "Say {{hi}}."),
        (
            "knowledge",
            {"question": "Which?", "choices": ["w", "x", "y", "z"]},
            "Which?\n\nA. w\nB. x\nC. y\nD. z\n\nAnswer with the letter only.",
        ),
    ],
)
def test_prompt_text(name: str, doc: dict[str, Any], prompt: str) -> None:
    task = build_task("arithmetic", 1) if name == "math500" else build_task(name, 1)
    from lm_eval.tasks._yaml_loader import load_yaml

    task.config.doc_to_text = load_yaml(EVALUATION_TASKS / f"{name}.yaml")["doc_to_text"]
    assert task.doc_to_text(doc) == prompt


def test_prompts_are_the_same_across_tasks_of_a_kind() -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    texts = {name: load_yaml(EVALUATION_TASKS / f"{name}.yaml")["doc_to_text"] for name in TASKS}
    assert texts["math500"] == texts["olympiads"] == texts["gsm8k"]
    assert texts["mmlu"] == texts["knowledge"]
    assert texts["ifeval"] == texts["instructions"]


@pytest.mark.parametrize("name", NAMES)
def test_fewer_items_begin_more(name: str) -> None:
    more = load_items(name, 60, 1, MIRROR)
    assert load_items(name, 8, 1, MIRROR) == more[:8]
    assert load_items(name, 8, 2, MIRROR) != more[:8]


@needs_mirror
def test_mmlu_covers_its_subjects_in_proportion() -> None:
    everything = Counter(row["subject"] for row in load_rows("mmlu", MIRROR))
    drawn = Counter(row["subject"] for row in load_items("mmlu", 200, 0, MIRROR))
    assert len(everything) == 57
    assert {s: (drawn[s], n) for s, n in everything.items() if abs(drawn[s] - 200 * n / 14042) > 1.5} == {}


def test_choices_are_scored_by_likelihood_and_mass() -> None:
    doc = {"answer": 2}
    assert scoring.choice(doc, [(-9, False), (-9, False), (-0.1, True), (-9, False)]) == {"acc": 1, "answered": 1}
    assert scoring.choice(doc, [(-0.1, True), (-9, False), (-4, False), (-9, False)]) == {"acc": 0, "answered": 1}
    # All four letters are unlikely: the choice still counts, and shows that the model would have said something else.
    assert scoring.choice(doc, [(-9, False), (-9, False), (-5, False), (-9, False)]) == {"acc": 1, "answered": 0}


def test_choice_is_asked_as_a_bare_letter_after_a_chat_template() -> None:
    task = build_task("knowledge", 1)
    requests = task.construct_requests(task.eval_docs[0], "…assistant\n", apply_chat_template=True)
    assert isinstance(requests, list)
    assert [request.arguments[1] for request in requests] == ["A", "B", "C", "D"]  # type: ignore[index]


@pytest.mark.parametrize("text", ["[" * 3000, '{"a":' * 3000])
def test_an_answer_that_only_opens_brackets_is_wrong_and_no_crash(text: str) -> None:
    pytest.importorskip("lm_eval")
    doc = {"key": 1, "instruction_id_list": ["detectable_format:json_format"], "prompt": "", "kwargs": [{}]}
    assert scoring.instructions(doc, ['{"a": 1}'])["acc"] == 1
    assert scoring.instructions(doc, [text]) == {"acc": 0, "acc_loose": 0, "answered": 1}


def test_strict_and_loose_instructions() -> None:
    ids = ["change_case:english_lowercase"]
    doc = {"key": 1, "prompt": "…", "instruction_id_list": ids, "kwargs": [{}]}
    text = "the leaves turn red in autumn, and then the trees let them go."
    assert scoring.instructions(doc, [text]) == {"acc": 1, "acc_loose": 1, "answered": 1}
    assert scoring.instructions(doc, [f"Sure!\n{text}"]) == {"acc": 0, "acc_loose": 1, "answered": 1}
    assert scoring.instructions(doc, ["ALL CAPITALS"]) == {"acc": 0, "acc_loose": 0, "answered": 1}


def test_a_verdict_does_not_hang_on_what_was_drawn_before() -> None:
    # The checker of letters knows none but a to z, and draws one where another is asked for.
    asked = {"let_relation": "at least", "letter": "!", "let_frequency": 1}
    doc = {"key": 1129, "prompt": "?", "instruction_id_list": ["keywords:letter_frequency"], "kwargs": [asked]}
    verdicts = set()
    for seed in range(100):
        random.seed(seed)
        before = random.getstate()
        verdicts.add(scoring.instructions(doc, ["nnnn mmmm"])["acc"])
        assert random.getstate() == before
    assert len(verdicts) == 1


def test_revision_holds_items_prompt_and_scorer() -> None:
    revision = resolve_task("knowledge").revision
    digest = hashlib.sha256((ROOT / "data" / "tasks" / "knowledge.jsonl").read_bytes()).hexdigest()[:12]
    assert revision == f"sha256:{digest}, prompt 1, choice/1"
    assert resolve_task("arithmetic").revision == f"generator:{arithmetic.VERSION}, prompt 1, number/1"


def test_scorers_name_the_installed_packages() -> None:
    named = [scorer.partition("/")[0].split() for scorer in SCORERS.values() if " " in scorer]
    assert sorted(package for package, _ in named) == ["lm-eval", "math-verify"]
    assert all(importlib.metadata.version(package) == version for package, version in named)


def test_unknown_task_offers_the_nearest() -> None:
    with pytest.raises(RequestError, match="did you mean 'math500'"):
        resolve_task("mth500")


def test_too_many_items_are_refused() -> None:
    with pytest.raises(RequestError, match="asked for 121 items of knowledge, there are 120"):
        load_items("knowledge", 121)


def test_lm_eval_finds_the_tasks_by_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `lm_eval run --include_path src/offmodel/evaluation/tasks --metadata '{...}'` does, from another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OFFMODEL_DATA", str(MIRROR))
    metadata = {"pretrained": "somewhere", "seed": 5, "n": 7, "draw_seed": 1}
    manager = TaskManager(include_path=str(EVALUATION_TASKS), include_defaults=False, metadata=metadata)
    assert set(manager.all_tasks) == {card.task for card in TASKS.values()}
    for name in OWN:
        docs: Any = manager.load([TASKS[name].task])["tasks"][TASKS[name].task].eval_docs
        assert [doc["id"] for doc in docs] == [row["id"] for row in load_items(name, 7, 1)]
    default = TaskManager(include_path=str(EVALUATION_TASKS), include_defaults=False)
    task = default.load(["offmodel_arithmetic"])["tasks"]["offmodel_arithmetic"]
    assert len(task.eval_docs) == TASKS["arithmetic"].n


def test_punkt_is_needed_only_by_some_checkers() -> None:
    assert punkt.needs_punkt(["punctuation:no_comma", "length_constraints:number_sentences"])
    assert not punkt.needs_punkt(["punctuation:no_comma", "length_constraints:number_words"])
    assert not any(punkt.needs_punkt(row["instruction_id_list"]) for row in load_rows("instructions"))


def test_punkt_that_cannot_be_had_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(punkt, "_found", lambda: False)
    monkeypatch.setattr(punkt, "_download", lambda: False)
    punkt.ensure_punkt.cache_clear()
    with pytest.raises(RunError, match="set NLTK_DATA") as caught:
        punkt.ensure_punkt()
    assert "\n" not in str(caught.value)
    punkt.ensure_punkt.cache_clear()
