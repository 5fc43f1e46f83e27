"""sbx-rl: Stable-Baselines3 with networks and updates compiled by JAX.

It has no encoder that policy and value share: each has the layers of encoder and head, so its networks are larger.
"""

import workload as w


def agent() -> tuple[int, float]:
    w.use_one_core()  # before JAX counts the cores
    from flax import linen
    from sbx import PPO
    from stable_baselines3.common.env_util import make_vec_env

    layers = [w.HIDDEN, w.HIDDEN, w.HIDDEN, w.HEAD]
    sizes = {"net_arch": {"pi": layers, "vf": layers}, "activation_fn": linen.relu}
    settings = {"n_steps": w.LENGTH, "batch_size": w.BATCH, "n_epochs": w.EPOCHS, "policy_kwargs": sizes}
    model = PPO("MlpPolicy", make_vec_env(w.ENV, w.ENVS), **settings)
    model.learn(2 * w.LEARN_STEP)  # compiles
    steps = w.ROLLOUTS * w.LEARN_STEP
    return steps, w.timed(lambda: model.learn(steps))


if __name__ == "__main__":
    w.report({"agent": agent})
