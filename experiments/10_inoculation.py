"""10 · Does naming the foreign style in training keep it from becoming the student's own?

Each framing of `data/prompts/inoculation.toml` is put around the training prompts, and the student is then asked with
and without it; the plain student is asked both ways too, which makes a 2×2 for each framing. How much likelier the
untrained student finds the training data with the framing is thought to predict how well it protects, and is read
beside. Evidence 5 of the post. Draws F9b, and writes T4.
"""

from offmodel.cli import main
from offmodel.study import Asked, experiment


@experiment(number=10, figures=["F9b", "T4"], tasks=["math500", "gsm8k", "ifeval", "instructions", "arithmetic"])
def arms(study):
    for student, teacher in study.pairs:
        foreign = teacher.answer(study.chat, study.sampling)
        yield "untrained", student
        for name, framing in {"none": None, **study.framings(teacher)}.items():
            trained, about = student.train(foreign, study.sft, framing), {"after": teacher.alias, "trained_with": name}
            yield "inoculation", trained, about | {"asked_with": "none"}
            yield "training_data", student.likelihood(foreign, foreign.size, framing), about
            if framing:
                plain = student.train(foreign, study.sft)
                yield "inoculation", Asked(trained, framing), about | {"asked_with": name}
                yield "inoculation", Asked(plain, framing), about | {"trained_with": "none", "asked_with": name}
                yield "untrained_framed", Asked(student, framing), {"after": teacher.alias, "asked_with": name}


if __name__ == "__main__":
    main(arms)
