"""This project: one agent (feed-forward or recurrent), a population in one process, and CartPole-v1."""

import workload as w

from evo_core.config.parsing import parse_config
from evo_core.config.run_config import RunConfig
from evo_core.envs.inspection import check_environment
from evo_core.evolution.population import create_population
from evo_core.local import train_on_policy
from evo_core.numerics.provenance import one_thread
from evo_core.training import train

FEED_FORWARD = {"encoder": {"hidden_size": [w.HIDDEN, w.HIDDEN]}, "latent_dim": w.HIDDEN}
RECURRENT = {"encoder": {"hidden_state_size": w.UNITS, "max_seq_len": 32}, "latent_dim": w.HEAD}


def one_agent(env: str = w.ENV, *, recurrent: bool = False) -> tuple[int, float]:
    """Train a founder for one generation: environments are made, a checkpoint is written."""

    def run(rollouts: int) -> None:
        made = configure(env, recurrent=recurrent, evo_steps=rollouts * w.LEARN_STEP)
        spaces = check_environment(made).spaces
        blob, _ = train(made, create_population(made, spaces.observation).offspring[0], None, spaces)
        assert blob is not None

    rollouts = w.FEWER_ROLLOUTS if recurrent else w.ROLLOUTS
    with one_thread():
        run(1)
        return rollouts * w.LEARN_STEP, w.timed(lambda: run(rollouts))


def population() -> tuple[int, float]:
    """Evolve a population for one generation in this process, with mutation, selection, evaluation, confirmation."""
    made = configure(w.ENV, recurrent=False, evo_steps=w.EVO_STEPS)
    with one_thread():
        return made.training.max_steps, w.timed(lambda: train_on_policy(made))


def configure(env: str, *, recurrent: bool, evo_steps: int) -> RunConfig:
    algorithm = {"learn_step": w.LEARN_STEP, "batch_size": w.BATCH, "update_epochs": w.EPOCHS, "recurrent": recurrent}
    return parse_config(
        {
            "env": {"id": env, "num_envs": w.ENVS},
            "algorithm": algorithm,
            "network": {**(RECURRENT if recurrent else FEED_FORWARD), "head": {"hidden_size": [w.HEAD]}},
            "population": {"size": w.POPULATION},
            "training": {"max_steps": w.POPULATION * evo_steps, "evo_steps": evo_steps},
            "evaluation": {"episodes": 1, "confirm_episodes": 2},
        }
    )


if __name__ == "__main__":
    w.report(
        {
            "agent": one_agent,
            "recurrent": lambda: one_agent(recurrent=True),
            "population": population,
            "cartpole": lambda: one_agent("CartPole-v1"),
        }
    )
