"""01 · Does off-model SFT cost capability that on-model SFT keeps?

Each student is trained on its own answers and on a teacher's answers to the same chat prompts, which have nothing to do
with the tasks it is then scored on; DFT takes the push off tokens that the student finds unlikely.
Draws F1 (scores of the untrained and the trained students), F2 (drop by difficulty level) and F6 (drop by shift of
style).
"""

from offmodel.cli import main
from offmodel.study import experiment


@experiment(number=1, figures=["F1", "F2", "F6"])
def arms(study):
    for student, teacher in study.pairs:
        own = student.answer(study.chat, study.sampling)
        foreign = teacher.answer(study.chat, study.sampling)
        yield "untrained", student
        yield "on_model_sft", student.train(own, study.sft)
        yield "off_model_sft", student.train(foreign, study.sft)
        yield "off_model_dft", student.train(foreign, study.sft.but(objective="dft"))


if __name__ == "__main__":
    main(arms)
