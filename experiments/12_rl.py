"""12 · Does reinforcement learning bring back what off-model SFT took, and how soon?

GRPO on problems with a checkable answer, from the off-model student and from the untrained one, scored on the way: what
RL adds to a student that lost nothing is no recovery. The control rewards the form of an answer alone: if it helps as
much, it was the form that had been lost. Where all is lost nothing is there to reinforce: with `sft_learning_rate`
under [rl] it starts from a gentler damage than the other scripts do. Appendix 1c of the post. Draws F10b, and writes
T4.
"""

from offmodel.cli import main
from offmodel.study import experiment


@experiment(number=12, figures=["F10b", "T4"], tasks=["math500", "gsm8k", "ifeval", "instructions", "arithmetic"])
def arms(study):
    for student, teacher in study.pairs:
        damaged = student.train(teacher.answer(study.chat, study.sampling), study.sft_before_rl)
        yield "untrained", student
        yield "off_model_sft", damaged
        right = study.preset.rl.reward
        for name, start, reward in [
            ("off_model_sft", damaged, right),
            ("off_model_sft", damaged, "format"),
            ("untrained", student, right),
        ]:
            reinforced = start.reinforce(study.problems, study.rl(reward))
            for update in (*reinforced.rl.snapshots, reinforced.rl.updates):
                about = {"after": teacher.alias, "start": name, "reward": reward, "updates": update}
                yield "rl", reinforced.at(update), about


if __name__ == "__main__":
    main(arms)
