"""18 · Which objective learns the teacher and spares the student?

Every objective of `offmodel.objective_names` is trained on the off-model data of 01, at several learning rates, and so
are mixtures of off-model with on-model answers. An objective may spare the capability because it refuses to learn, so
each is read twice: what the student can still do, and how much of the teacher it has taken up (style, and the NLL of
the teacher's answers to held-out prompts). Draws F14, and writes its numbers as T6, and T5, DFT beside SFT.
"""

from offmodel.cli import main
from offmodel.objective_names import OBJECTIVES
from offmodel.study import experiment

SHARES = (0.1, 0.5)


@experiment(number=18, figures=["F14", "T5", "T6"], tasks=["math500", "gsm8k", "ifeval", "instructions", "arithmetic"])
def arms(study):
    for student, teacher in study.pairs:
        own, foreign = (writer.answer(study.chat, study.sampling) for writer in (student, teacher))
        unseen = teacher.answer(study.held_out(study.preset.objectives.held_out), study.sampling)
        trained = [("untrained", student, {})]
        for rate in study.preset.objectives.learning_rates or [study.sft.learning_rate]:
            at_rate, about = study.sft.but(learning_rate=rate), {"learning_rate": rate}
            trained.append(("on_model_sft", student.train(own, at_rate), about))
            for objective in study.preset.objectives.names or OBJECTIVES:
                made = student.train(foreign, at_rate.but(objective=objective))
                trained.append((f"off_model_{objective}", made, about))
            for share in SHARES:
                made = student.train(foreign.mixed(own, share, study.seed), at_rate)
                trained.append(("off_model_mixed", made, about | {"on_model_share": share}))
        for name, made, about in trained:
            yield name, made, about
            yield "teacher_unseen", made.likelihood(unseen, unseen.size), about | {"arm": name, "after": teacher.alias}


if __name__ == "__main__":
    main(arms)
