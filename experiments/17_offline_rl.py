"""17 · Is DFT a way of offline reinforcement learning?

The student answers each training problem several times. It learns from its right answers, with SFT (which is RFT), DFT
or iw-SFT, or from right ones beside wrong ones with DPO: all of these data are its own. GRPO, which draws new answers
at every update, is the online arm, where the preset says `online = true`. The offline RL of the DFT paper (arXiv
2508.05629). The control learns the solutions that come with the same problems, each as often: neither the problems nor
the number of steps differ then, though lengths do, and that one text is met several times. Writes T3, and draws how
likely each student finds the solutions of the training problems, as 16 does for those that were trained on them (F13b).
"""

from offmodel.cli import main
from offmodel.recipes import Solutions
from offmodel.study import experiment

OF_OWN = {"rft": "sft", "offline_dft": "dft", "offline_iw_sft": "iw_sft"}
OF_SOLUTIONS = {"solutions_sft": "sft", "solutions_dft": "dft"}


@experiment(number=17, figures=["F13b", "T3", "T5"], tasks=["math500", "olympiads", "gsm8k", "arithmetic"])
def arms(study):
    sizes, solutions = study.preset.reasoning, Solutions(problems=study.reasoning_problems)
    for student in study.reasoning_students:
        trained, right = {"untrained": student}, study.accepted(student)
        for data, objectives in [(right, OF_OWN), (right.solutions_instead(), OF_SOLUTIONS)]:
            for name, objective in objectives.items():
                trained[name] = student.train(data, study.reasoning.but(objective=objective))
        trained["dpo"] = student.prefer(study.preferences(student), study.dpo)
        if sizes.online:
            trained["grpo"] = student.reinforce(study.reasoning_problems, study.rl(sizes.reward))
        for name, made in trained.items():
            yield name, study.often(made)
            yield "training_set", made.likelihood(solutions, sizes.read), {"arm": name}


if __name__ == "__main__":
    main(arms)
