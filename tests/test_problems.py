"""Problems to reinforce on: asked as the benchmark asks, never its own items, in a stable order."""

from pathlib import Path

import pytest
from test_sources import MIRROR, needs_mirror, write_mirror

from offmodel.data import arithmetic
from offmodel.data.problems import PROBLEM_SOURCES, Problem, load_problems, practised, problem_revision
from offmodel.data.sources import load_rows
from offmodel.errors import RequestError
from offmodel.training.rewards import check_answers
from offmodel.values import Prompts

SOLUTION = "Think.\nThe answer is \\boxed{4}."


def row(question: str, answer: str) -> dict[str, str]:
    return {"question": question, "answer": f"Think.\n#### {answer}"}


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    write_mirror(tmp_path, "gsm8k", [row("One and one?", "2")])
    write_mirror(
        tmp_path, "gsm8k_train", [row("Two and two?", "4"), row("One  and ONE?", "2"), row("1,000 + 1?", "1,001")]
    )
    return tmp_path


def wanted(source: str, n: int, data: Path | None = None, **more) -> Prompts:
    return Prompts(source=source, revision=problem_revision(source, data), n=n, **more)


def test_items_of_the_benchmark_are_left_out(mirror: Path) -> None:
    problems = load_problems(wanted("gsm8k_train", 2, mirror), mirror)
    asked = "Two and two?\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    assert Problem("gsm8k-train-0", [{"role": "user", "content": asked}], "4", SOLUTION) in problems
    assert {problem.answer for problem in problems} == {"4", "1001"}
    with pytest.raises(RequestError, match="there are 2 that are no items of 'gsm8k'"):
        load_problems(wanted("gsm8k_train", 3, mirror), mirror)


def test_numbers_and_answer_tell_what_was_practised_in_other_words() -> None:
    learned = [Problem("a", [{"role": "user", "content": "Mia has 12 figs and eats 3. How many are left?"}], "9", "")]
    asked = [
        {"id": "same", "question": "Calculate 12 - 3.", "answer": 9},
        {"id": "other order", "question": "Take 3 from 12.", "answer": 9},
        {"id": "other answer", "question": "Calculate 12 / 3.", "answer": 4},
        {"id": "other numbers", "question": "Calculate 1 + 2 + 3.", "answer": 6},
        {"id": "more numbers", "question": "Calculate 12 - 3 * 1.", "answer": 9},
    ]
    assert practised(asked, learned) == {"same", "other order"}


def test_the_revision_names_both_splits(mirror: Path) -> None:
    before = wanted("gsm8k_train", 1, mirror)
    path = mirror / "gsm8k" / "test.jsonl"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(RequestError, match="the study was planned with"):
        load_problems(before, mirror)


def test_wrong_requests(mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="unknown problem source 'gsm8k'; did you mean 'gsm8k_train'"):
        problem_revision("gsm8k", mirror)
    with pytest.raises(RequestError, match="are mathematics"):
        load_problems(wanted("gsm8k_train", 1, mirror, math=False), mirror)
    (mirror / "gsm8k" / "train.jsonl").unlink()
    with pytest.raises(RequestError, match="'gsm8k_train' is not in the mirror"):
        problem_revision("gsm8k_train", mirror)


def test_arithmetic_is_apart_from_every_item_of_the_benchmark_and_mixes_the_levels() -> None:
    everything = load_problems(wanted("arithmetic_train", 400))
    items = {item["question"] for item in arithmetic.items(arithmetic.MAX_ITEMS, 0)}
    questions = [problem.messages[0]["content"].partition("\n\n")[0] for problem in everything]
    assert not items & set(questions) and len(set(questions)) == 400
    levels = {item["id"]: item["level"] for item in arithmetic.items(arithmetic.MAX_ITEMS, 12_000)}
    assert {levels[problem.id] for problem in everything[:10]} == {1, 2, 3, 4, 5}
    assert load_problems(wanted("arithmetic_train", 8)) == everything[:8]
    assert load_problems(wanted("arithmetic_train", 8, skip=8)) == everything[8:16]
    assert load_problems(wanted("arithmetic_train", 8, seed=1)) != everything[:8]


def test_the_easy_problems_are_those_of_the_two_easiest_levels() -> None:
    easy = [problem.id for problem in load_problems(wanted("arithmetic_easy_train", 160))]
    rest = [problem.id for problem in load_problems(wanted("arithmetic_train", 461))]
    assert len(set(easy)) == 160 and set(easy) < set(rest)
    assert {name.split("-")[2] for name in easy} == {"1", "2"}
    with pytest.raises(RequestError, match="there are 161 that are no items of 'arithmetic'"):
        load_problems(wanted("arithmetic_easy_train", 162))


@pytest.mark.parametrize("source", ["gsm8k_train", "arithmetic_train", "arithmetic_easy_train"])
def test_a_problem_is_asked_as_its_benchmark_asks(source: str, mirror: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra `cpu` or `gpu`")
    from offmodel.evaluation.registry import build_task

    benchmark = PROBLEM_SOURCES[source].benchmarks[0]
    task = build_task(benchmark, 1, data_dir=mirror)
    asked = task.doc_to_text(next(iter(task.test_docs())))
    assert isinstance(asked, str) and asked.endswith(f"\n\n{PROBLEM_SOURCES[source].instruction}")
    assert load_problems(wanted(source, 1, mirror), mirror)[0].messages[0]["content"].count("\n\n") == 1


def test_a_solution_ends_with_the_answer_in_the_form_that_was_asked_for(tmp_path: Path) -> None:
    write_mirror(tmp_path, "gsm8k", [row("One?", "1")])
    noted = "He has 1,000+1 = <<1000+1=1001>>1,001 in all.\n#### 1,001"
    write_mirror(tmp_path, "gsm8k_train", [{"question": "How many?", "answer": noted}])
    (problem,) = load_problems(wanted("gsm8k_train", 1, tmp_path), tmp_path)
    assert problem.solution == "He has 1,000+1 = 1,001 in all.\nThe answer is \\boxed{1001}."
    for made in load_problems(wanted("arithmetic_train", 20)):
        assert made.solution.endswith(f"The answer is {made.answer}.")


def test_numinamath_is_asked_bare_and_without_the_items_of_its_benchmarks(tmp_path: Path) -> None:
    tested = {"problem": "Two  plus two?", "answer": "4", "level": 1, "subject": "Algebra", "unique_id": "x"}
    write_mirror(tmp_path, "math500", [tested])
    olympiad = {"id": 1, "context": None, "question": "Two and three?", "final_answer": ["5"], "error": None}
    write_mirror(tmp_path, "olympiads", [{**olympiad, "subfield": "Algebra"}])
    solutions = {
        "Two plus TWO?": "It is $\\boxed{4}$.",
        "Two and  three?": "It is $\\boxed{5}$.",
        "A half?": "So $\\boxed{\\frac{1}{2}}$.",
        "Prove it.": "Clear.",
    }
    rows = [{"problem": asked, "solution": told, "source": "olympiads"} for asked, told in solutions.items()]
    write_mirror(tmp_path, "numinamath", rows)
    problems = {one.messages[0]["content"]: one for one in load_problems(wanted("numinamath", 2, tmp_path), tmp_path)}
    assert set(problems) == {"A half?", "Prove it."}
    assert (problems["A half?"].answer, problems["A half?"].solution) == ("\\frac{1}{2}", solutions["A half?"])
    assert problems["Prove it."].answer == ""


@needs_mirror
def test_the_whole_training_split_can_be_rewarded_and_is_not_tested_on() -> None:
    problems = load_problems(wanted("gsm8k_train", 7473, MIRROR), MIRROR)
    check_answers("number", [problem.answer for problem in problems])
    assert not {problem.id for problem in problems} & {item["id"] for item in load_rows("gsm8k", MIRROR)}
