"""What a run found, as files: configurations of ours, settings for other libraries, and the schedule."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from evo_core.config.run_config import RunConfig
from evo_core.export.found_config import found_config
from evo_core.export.peer_settings import CleanrlSettings, Sb3Settings, cleanrl_settings, sb3_settings
from evo_core.export.schedule_file import make_schedule
from evo_core.ppo.learning_rate import DECAY
from evo_core.records.chain import Member
from evo_core.spaces.spaces import Spaces
from flows.report.run_data import RunView
from tasks.yaml_text import dump_yaml


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file: its name, what it is, how it is used, and what of the member it does not hold, in sentences."""

    name: str
    what: str
    use: str
    content: str
    left_out: tuple[str, ...] = ()


def own_files(view: RunView, uid: str) -> list[FoundFile]:
    """Write a member as configurations of ours, and its schedule; LookupError for an unknown member.

    `schedule.json` names the run's confirmation if the member is the one that was confirmed.
    """
    line = view.lineage.line(uid)
    confirmed = view.confirmed if view.confirmed and view.confirmed.uid == uid else None
    schedule = make_schedule(view.run_id, view.config, line, confirmed)
    return [
        _configuration(view, line, evolve=False),
        _configuration(view, line, evolve=True),
        FoundFile(
            "schedule.json",
            "what its weights were trained with, generation by generation",
            "`evolve replay --schedule schedule.json` trains fresh agents along it. In scripts: `stages` are in order, "
            "each for the environment steps from `begin` to `end`, with all hyperparameters (`algorithm`) and the "
            "network (`genome.architecture`).",
            json.dumps(schedule.model_dump(mode="json"), indent=1) + "\n",
            ("weights, and noise on them",),
        ),
    ]


def peer_files(view: RunView, uid: str, spaces: Spaces) -> list[FoundFile]:
    """Write a member as settings for Stable-Baselines3, rl-zoo3 and CleanRL."""
    member = view.lineage[uid]
    genome, config = member.offspring.genome, view.config
    steps = member.offspring.lineage_steps + member.training.steps
    sb3 = sb3_settings(config, genome, spaces)
    cleanrl = cleanrl_settings(config, genome, spaces, steps)
    return [
        FoundFile(
            "sb3_ppo.py",
            "keyword arguments for Stable-Baselines3, with the network",
            "`python sb3_ppo.py` trains it; `from sb3_ppo import make_model, KWARGS, POLICY_KWARGS` in your own code.",
            _sb3_module(view, member, sb3, steps),
            sb3.left_out,
        ),
        _zoo_file(config, sb3, steps),
        FoundFile(
            "cleanrl.sh",
            f"arguments for CleanRL's {cleanrl.script}",
            "Run it in a checkout of CleanRL.",
            _cleanrl_script(view, member, cleanrl),
            cleanrl.left_out,
        ),
    ]


def describe_files(view: RunView, uid: str, files: Sequence[FoundFile]) -> str:
    """Write the README of a directory with these files."""
    text: str = (
        _templates()
        .get_template("found.md.jinja")
        .render(run_id=view.run_id, member=uid, env=view.config.env, files=files)
    )
    return text


def _configuration(view: RunView, line: Sequence[Member], *, evolve: bool) -> FoundFile:
    found = found_config(view.config, line, evolve=evolve)
    name = "config-evolve.yaml" if evolve else "config.yaml"
    what = "a configuration whose population evolves from it" if evolve else "a configuration that trains it alone"
    head = [f"{what[2:].capitalize()}: {line[-1].uid} of run {view.run_id}", "Not in this file:"]
    head += [f"- {sentence}" for sentence in found.left_out]
    return FoundFile(
        name,
        what,
        f"`evolve run --config {name}`; its first founder has exactly this network, with new weights.",
        _comments(head) + dump_yaml(found.config.model_dump(mode="json")),
        found.left_out,
    )


def _zoo_file(config: RunConfig, sb3: Sb3Settings, steps: int) -> FoundFile:
    pi, vf = sb3.separate
    policy = {"net_arch": {"pi": list(pi), "vf": list(vf)}, **sb3.policy_kwargs}
    words = ", ".join([*(f"{name}={value!r}" for name, value in policy.items()), f"activation_fn=nn.{sb3.activation}"])
    numbers = {name: value for name, value in sb3.kwargs.items() if value is not None and name != "seed"}
    entry: dict[str, object] = {"n_envs": config.env.num_envs, "n_timesteps": steps, "policy": sb3.policy}
    entry |= {**numbers, "policy_kwargs": f"dict({words})"}
    if sb3.normalize:
        entry["normalize"] = f"dict({', '.join(f'{n}={v!r}' for n, v in sb3.normalize.items() if n != 'gamma')})"
    left_out = [*sb3.left_out]
    if sb3.shared:
        left_out.append(
            f"layers that policy and value share ({', '.join(map(str, sb3.shared))} nodes): each has its own"
        )
    if sb3.decays:
        left_out.append("lr_schedule linear: the rate is constant there")
    if config.env.kwargs:
        left_out.append(f"env.kwargs {config.env.kwargs}: give them as --env-kwargs")
    algorithm = "ppo_lstm" if sb3.recurrent else "ppo"
    command = shlex.join(["python", "-m", "rl_zoo3.train", "--algo", algorithm, "--env", config.env.id])
    return FoundFile(
        "rl_zoo3.yml",
        "hyperparameters for rl-zoo3",
        f"`{command} --conf-file rl_zoo3.yml --seed {sb3.kwargs['seed']}`",
        _comments([command + " --conf-file rl_zoo3.yml", *(f"- {sentence}" for sentence in left_out)])
        + dump_yaml({config.env.id: entry}),
        tuple(left_out),
    )


def _sb3_module(view: RunView, member: Member, sb3: Sb3Settings, steps: int) -> str:
    fields = {name: getattr(sb3, name) for name in Sb3Settings.__dataclass_fields__}
    text: str = (
        _templates()
        .get_template("sb3_ppo.py.jinja")
        .render(
            **{**fields, "left_out": [_one_line(sentence) for sentence in sb3.left_out]},
            module="RecurrentPPO (sb3-contrib)" if sb3.recurrent else "PPO",
            member=member.uid,
            run_id=view.run_id,
            env=view.config.env,
            steps=steps,
            decay=DECAY,
        )
    )
    return text


def _cleanrl_script(view: RunView, member: Member, settings: CleanrlSettings) -> str:
    words = ["python", f"cleanrl/{settings.script}"]
    for name, value in settings.arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            words += [f"--{flag}", str(value)]
    head = [f"Member {member.uid} of run {view.run_id}. What does not carry over:"]
    return _comments(head + [f"- {sentence}" for sentence in settings.left_out]) + shlex.join(words) + "\n"


def _templates() -> Environment:
    """Return the environment of templates that are no HTML; what they insert is one line, or a literal of Python."""
    environment = Environment(
        loader=PackageLoader("flows.report"), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["literal"] = repr
    return environment


def _comments(lines: Sequence[str]) -> str:
    return "".join(f"# {_one_line(line)}\n" for line in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())
