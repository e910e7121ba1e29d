"""16 · Does DFT generalise better than SFT on solutions of maths problems?

The setting of the DFT paper (arXiv 2508.05629): students trained on the solutions that come with the problems, with
each objective, scored through the training (avg@k); then over learning rates and batch sizes. How likely the students
find the tokens that they were trained on tells what an objective does: SFT lifts all of them, DFT is said to give some
up. Draws F12 and F13, and writes T2, their last point, and T5, DFT beside SFT wherever both were tried.
"""

from itertools import product

from offmodel.cli import main
from offmodel.recipes import Solutions
from offmodel.study import experiment

IN_GRID = ("sft", "dft")


@experiment(number=16, figures=["F12", "F13", "T2", "T5"], tasks=["math500", "olympiads", "gsm8k", "arithmetic"])
def arms(study):
    sizes, data = study.preset.reasoning, Solutions(problems=study.reasoning_problems)
    for student in study.reasoning_students:
        yield "untrained", study.often(student)
        yield "training_set", student.likelihood(data, sizes.read), {"arm": "untrained"}
        for objective in sizes.objectives:
            training = study.reasoning.but(objective=objective)
            made = student.train(data, training.but(snapshots=sizes.snapshots))
            for step in (*sizes.snapshots, training.steps(data.size)):
                yield objective, study.often(made.at(step)), {"step": step}
            yield "training_set", made.likelihood(data, sizes.read), {"arm": objective}
            for rate, batch in product(sizes.learning_rates, sizes.batch_sizes) if objective in IN_GRID else ():
                in_grid = training.but(learning_rate=rate, batch_size=batch)
                made_so = made if in_grid == training else student.train(data, in_grid)
                yield objective, study.often(made_so), {"learning_rate": rate, "batch_size": batch}


if __name__ == "__main__":
    main(arms)
