"""11 · Can the trained student still find the answer, if it may try often enough?

Several answers of each problem are drawn at one temperature: pass@k for k up to their number, and the majority's vote.
A capability that is only out of reach of the first try comes back with k; one that is gone does not. Appendix 1b of the
post. Draws F10a, and writes T4.
"""

from offmodel.cli import main
from offmodel.study import Asked, experiment


@experiment(number=11, figures=["F10a", "T4"], tasks=["math500", "gsm8k", "arithmetic"])
def arms(study):
    def often(model):
        return Asked(model, samples=study.preset.best_of_n.samples, temperature=study.preset.best_of_n.temperature)

    for student, teacher in study.pairs:
        own, foreign = (writer.answer(study.chat, study.sampling) for writer in (student, teacher))
        yield "untrained", often(student)
        yield "on_model_sft", often(student.train(own, study.sft))
        yield "off_model_sft", often(student.train(foreign, study.sft))


if __name__ == "__main__":
    main(arms)
