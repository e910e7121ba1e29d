"""06 · How little on-model SFT, or on-policy distillation, brings back what off-model SFT took?

The trained student is trained once more, on k of the *untrained* student's answers to held-out chat prompts without
mathematics. Beside it, as many prompts answered by the trained student itself, which is brought back token by token to
what the untrained one finds likely there (on-policy distillation). Controls at the same k: the teacher's answers, those
of a third model, and words in random order, so that neither more training nor anything foreign passes for a repair.
Evidence 1 and Appendix 1a of the post. Draws F7 and F7b, and writes T4, all ways back in one table.
"""

from offmodel.cli import main
from offmodel.study import experiment


@experiment(number=6, figures=["F7", "F7b", "T4"], tasks=["math500", "gsm8k", "ifeval", "instructions", "arithmetic"])
def arms(study):
    for student, teacher in study.pairs:
        damaged = student.train(teacher.answer(study.chat, study.sampling), study.sft)
        yield "untrained", student
        yield "off_model_sft", damaged
        for k in study.preset.repair.sizes:
            fresh, then = study.held_out(k), {"after": teacher.alias, "k": k}
            own = student.answer(fresh, study.sampling)
            yield "on_model_repair", damaged.train(own, study.repair), then
            if study.distils(student):
                yield "on_policy_distillation", damaged.distil(fresh, student, study.distillation), then
            if k in study.preset.repair.controls:
                yield "off_model_more", damaged.train(teacher.answer(fresh, study.sampling), study.repair), then
                if third := study.third(student, teacher):
                    yield "third_model_repair", damaged.train(third.answer(fresh, study.sampling), study.repair), then
                yield "random_words", damaged.train(own.scrambled(study.seed), study.repair), then


if __name__ == "__main__":
    main(arms)
