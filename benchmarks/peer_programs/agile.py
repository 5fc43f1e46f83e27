"""AgileRL: one agent, and a population in one process; environments are stepped in turn, its fastest way here."""

import torch
import workload as w
from agilerl.algorithms import PPO
from agilerl.hpo.mutation import Mutations
from agilerl.hpo.tournament import TournamentSelection
from agilerl.rollouts.on_policy import collect_rollouts
from agilerl.training.train_on_policy import train_on_policy
from agilerl.utils.utils import make_vect_envs

NETWORK = {
    "latent_dim": w.HIDDEN,
    "encoder_config": {"hidden_size": [w.HIDDEN, w.HIDDEN]},
    "head_config": {"hidden_size": [w.HEAD]},
}


def make() -> tuple[object, list[PPO]]:
    torch.set_num_threads(1)
    envs = make_vect_envs(w.ENV, num_envs=w.ENVS, should_async_vector=False)
    sizes = {"batch_size": w.BATCH, "learn_step": w.LEARN_STEP, "update_epochs": w.EPOCHS, "num_envs": w.ENVS}
    spaces = envs.single_observation_space, envs.single_action_space
    return envs, [PPO(*spaces, index=index, net_config=NETWORK, **sizes) for index in range(w.POPULATION)]


def agent() -> tuple[int, float]:
    envs, (one, *_) = make()
    one.set_training_mode(True)

    def work(rollouts: int) -> None:
        last = (None, None, None, None)
        for _ in range(rollouts):
            names = ("last_obs", "last_done", "last_scores", "last_info")
            _, *last = collect_rollouts(one, envs, n_steps=w.LENGTH, **dict(zip(names, last, strict=True)))
            one.learn()

    work(1)
    return w.ROLLOUTS * w.LEARN_STEP, w.timed(lambda: work(w.ROLLOUTS))


def population() -> tuple[int, float]:
    """Evolve for one generation, with selection, mutation and one evaluation episode."""
    envs, members = make()
    selection = TournamentSelection(tournament_size=2, elitism=True, population_size=w.POPULATION)
    mutation = Mutations(0.4, 0.2, 0.2, 0.2, 0.0, 0.2)
    settings = {"max_steps": w.EVO_STEPS, "evo_steps": w.EVO_STEPS, "eval_loop": 1, "verbose": False}

    def work() -> None:
        train_on_policy(envs, w.ENV, "PPO", members, tournament=selection, mutation=mutation, **settings)

    return w.POPULATION * w.EVO_STEPS, w.timed(work)


if __name__ == "__main__":
    w.report({"agent": agent, "population": population})
