"""00 · At which learning rate does off-model SFT learn, and at which does it only break?

Learning rate decides how far a student moves, so a drop at one rate alone says little. The rates are those that sibling
studies sweep; one teacher of each student, the first of the preset. How much of the teacher is learned is read beside,
as in 18: the NLL of its answers to held-out prompts. Run it before 01, and report it. Draws F0.
"""

from offmodel.cli import main
from offmodel.study import experiment

RATES = (3e-5, 1e-4, 3e-4, 1e-3)


@experiment(number=0, figures=["F0"], tasks=["gsm8k", "ifeval"])
def arms(study):
    for student, teacher in study.first_pairs:
        foreign = teacher.answer(study.chat, study.sampling)
        unseen = teacher.answer(study.held_out(study.preset.objectives.held_out), study.sampling)
        trained = [("untrained", student, {})]
        for rate in RATES:
            made = student.train(foreign, study.sft.but(learning_rate=rate))
            trained.append(("off_model_sft", made, {"learning_rate": rate}))
        for name, made, about in trained:
            yield name, made, about
            yield "teacher_unseen", made.likelihood(unseen, unseen.size), about | {"arm": name, "after": teacher.alias}


if __name__ == "__main__":
    main(arms)
