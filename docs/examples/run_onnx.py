"""Play a policy with numpy, gymnasium and onnxruntime alone, one episode per seed; print the mean return.

    evolve export RUN --output policy.onnx && python run_onnx.py policy.onnx 1 2 3

Memory, action masks, nested observations and Gymnasium's own wrappers included; other wrappers need their package.
"""

import json
import sys

import gymnasium
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
card = json.loads(session.get_modelmeta().custom_metadata_map["evolve"])
env = gymnasium.make(card["env"]["id"], **card["env"]["kwargs"])
for wrapper in card["env"]["wrappers"]:
    name, arguments = (wrapper, {}) if isinstance(wrapper, str) else next(iter(wrapper.items()))
    env = getattr(gymnasium.wrappers, name)(env, **arguments)

returns = []
for seed in map(int, sys.argv[2:] or range(10)):
    observation, info = env.reset(seed=seed)
    memory, total, steps, ended = 0.0, 0.0, 0, False
    while not ended and steps != card["max_steps"]:
        mask = np.hstack(info.get("action_mask", [1]))  # of MultiBinary, the file wants two truth values per switch
        inputs = {}
        for port in card["inputs"]:
            value = {"observation": observation, "action_mask": mask, "memory": memory}[port["role"]]
            for key in port["path"]:
                value = value[key]
            inputs[port["name"]] = np.full((1, *port["shape"]), value, port["dtype"])
        action, *_, memory = session.run(None, inputs)  # a policy without a memory is not asked for one
        observation, reward, terminated, truncated, info = env.step(action[0])
        total, steps, ended = total + float(reward), steps + 1, terminated or truncated
    returns.append(total)
print(np.mean(returns))
