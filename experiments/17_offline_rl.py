"""17 · Is DFT a way of offline reinforcement learning?

The student answers each training problem several times. It learns from its right answers, with SFT (which is RFT), DFT
or iw-SFT, or from right ones beside wrong ones with DPO: all of these data are its own. GRPO, which draws new answers
at every update, is the online arm, where the preset says `online = true`. The offline RL of the DFT paper (arXiv
2508.05629). The control learns the solutions that come with the same problems, each as often: neither the problems nor
the number of steps differ then, though lengths do, and that one text is met several times. Writes T3.
"""

from offmodel.cli import main
from offmodel.study import experiment

OF_OWN = {"rft": "sft", "offline_dft": "dft", "offline_iw_sft": "iw_sft"}
OF_SOLUTIONS = {"solutions_sft": "sft", "solutions_dft": "dft"}


@experiment(number=17, figures=["T3"], tasks=["math500", "olympiads", "gsm8k", "arithmetic"])
def arms(study):
    for student in study.reasoning_students:
        yield "untrained", study.often(student)
        right = study.accepted(student)
        for data, objectives in [(right, OF_OWN), (right.solutions_instead(), OF_SOLUTIONS)]:
            for name, objective in objectives.items():
                yield name, study.often(student.train(data, study.reasoning.but(objective=objective)))
        yield "dpo", study.often(student.prefer(study.preferences(student), study.dpo))
        if study.preset.reasoning.online:
            online = student.reinforce(study.reasoning_problems, study.rl(study.preset.reasoning.reward))
            yield "grpo", study.often(online)


if __name__ == "__main__":
    main(arms)
