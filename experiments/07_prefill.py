"""07 · Is the old way of reasoning still there, and does a beginning call it back?

The trained student goes on from the first m tokens of the untrained student's answer to the same problem. Controls: the
beginning of its own answer, of the teacher's, and of the untrained student's answer to *another* problem (its style
without its content); and the reverse, the untrained student going on from the trained one's beginning. The student's
own beginnings are given as the tokens that it made; the teacher has another tokenizer, so its text is encoded anew.
Problems whose beginning already holds an answer (it states one, right or wrong, or has the right value anywhere in it)
are counted and left out. Evidence 2 of the post. Draws F8, and writes T4.
"""

from offmodel.cli import main
from offmodel.study import Asked, experiment


@experiment(number=7, figures=["F8", "T4"], tasks=["math500", "gsm8k", "ifeval", "instructions", "arithmetic"])
def arms(study):
    for student, teacher in study.pairs:
        damaged = student.train(teacher.answer(study.chat, study.sampling), study.sft)
        yield "untrained", student
        yield "off_model_sft", damaged
        for m in study.preset.openings.tokens:
            given = {"after": teacher.alias, "tokens": m}
            yield "prefill", Asked(damaged, opening=student, opening_tokens=m), given | {"opening": "untrained"}
            if m in study.preset.openings.controls:
                elsewhere = Asked(damaged, opening=student, opening_tokens=m, of_another=True)
                yield "prefill", elsewhere, given | {"opening": "untrained, another problem"}
                yield "prefill", Asked(damaged, opening=damaged, opening_tokens=m), given | {"opening": "its own"}
                if study.has_weights(teacher):  # a provider's model answers chat prompts alone, no benchmarks
                    yield "prefill", Asked(damaged, opening=teacher, opening_tokens=m), given | {"opening": "teacher"}
                yield "prefill_reversed", Asked(student, opening=damaged, opening_tokens=m), given


if __name__ == "__main__":
    main(arms)
