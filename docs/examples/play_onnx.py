"""Play a policy without a memory: python play_onnx.py policy.onnx CartPole-v1 [SEED ...]; run_onnx.py plays any."""

import sys

import gymnasium
import numpy as np
import onnxruntime

session, env, returns = onnxruntime.InferenceSession(sys.argv[1]), gymnasium.make(sys.argv[2]), []
for seed in map(int, sys.argv[3:] or range(10)):
    (observation, _), total, ended = env.reset(seed=seed), 0.0, False
    while not ended:
        (action,) = session.run(["action"], {"observation": np.array([observation])})
        observation, reward, terminated, truncated, _ = env.step(action[0])
        total, ended = total + float(reward), terminated or truncated
    returns.append(total)
print(np.mean(returns))
