"""rejax on gymnax's CartPole-v1: environment and update are one program that JAX compiles.

`few` has the workload's 16 environments, `many` 1,024 of them and one minibatch size for all, as is usual there.
"""

import workload as w


def run(envs: int, length: int, minibatches: int, rollouts: int) -> tuple[int, float]:
    w.use_one_core()  # before JAX counts the cores
    import jax
    from rejax import PPO

    steps = rollouts * envs * length
    settings = {"num_envs": envs, "num_steps": length, "num_epochs": w.EPOCHS, "num_minibatches": minibatches}
    network = {"hidden_layer_sizes": (w.HIDDEN, w.HIDDEN, w.HIDDEN, w.HEAD), "activation": "relu"}
    algorithm = PPO.create(
        env="CartPole-v1",
        agent_kwargs=network,
        total_timesteps=steps,
        eval_freq=steps,
        skip_initial_evaluation=True,
        **settings,
    )
    train = jax.jit(algorithm.train)
    jax.block_until_ready(train(jax.random.PRNGKey(0)))  # compiles
    return steps, w.timed(lambda: jax.block_until_ready(train(jax.random.PRNGKey(1))))


if __name__ == "__main__":
    w.report(
        {
            "few": lambda: run(w.ENVS, w.LENGTH, w.LEARN_STEP // w.BATCH, 5 * w.ROLLOUTS),
            "many": lambda: run(1024, w.LENGTH, 16, w.ROLLOUTS // 2),
        }
    )
