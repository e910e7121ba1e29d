"""00 · At which learning rate does off-model SFT learn, and at which does it only break?

Learning rate decides how far a student moves, so a drop at one rate alone says little. The rates are those that sibling
studies sweep; one teacher, the first of the preset. Run it before 01, and report it.
"""

from offmodel.cli import main
from offmodel.study import experiment

RATES = (3e-5, 1e-4, 3e-4, 1e-3)


@experiment(number=0, tasks=["gsm8k", "ifeval"])
def arms(study):
    student, teacher = study.pairs[0]
    foreign = teacher.answer(study.chat, study.sampling)
    yield "untrained", student
    for rate in RATES:
        yield "off_model_sft", student.train(foreign, study.sft.but(learning_rate=rate)), {"learning_rate": rate}


if __name__ == "__main__":
    main(arms)
