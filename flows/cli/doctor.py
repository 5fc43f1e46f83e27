"""evolve doctor: check the installation, or an environment."""

import importlib.metadata
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from evo_core.installation import PACKAGES, ROOT
from flows.cli.arguments import DEFAULTS, NO_OVERRIDES, Json, Operational, Overrides
from flows.cli.output import emit
from flows.cli.session import read_settings
from flows.prefect_server.api import describe_api, require_configured_api
from flows.settings import BadInput
from flows.slots import VISIBLE

if TYPE_CHECKING:
    from evo_core.config.run_config import RunConfig
    from evo_core.envs.inspection import EnvSpec
    from flows.settings import Settings

LIBRARIES = ("prefect", "prefect-dask", "dask", "torch", "gymnasium", "numpy", "optuna", "s3fs", "safetensors")
MEASURED_S = 1.0
_COLORS = re.compile(r"\x1b\[\d+m|WARN: ")


class Check(NamedTuple):
    """Result of one check; `advice` is empty if it passed."""

    name: str
    finding: str
    advice: str = ""


def doctor(
    env: str | None = None,
    /,
    *,
    config: Annotated[Path | None, Parameter(help="Check the environment, wrappers and network of this file.")] = None,
    operational: Operational = DEFAULTS,
    json: Json = False,
    overrides: Overrides = NO_OVERRIDES,
) -> int:
    """Check the installation, or an environment given by its id, a configuration file or flags such as --env.id.

    Checks of an environment: spaces, networks, Gymnasium's checker, determinism under a seed, state in wrappers, a
    trial in a worker process, and speed. Takes the flags of `evolve run`.
    """
    settings = read_settings(asdict(operational))
    if env is not None or config is not None or overrides:
        checks = list(_environment(_configuration(env, config, overrides), settings))
    else:
        checks = [*_versions(), *_packages(), _device(), _slots(settings), _prefect(), *_store(settings)]
    if json:
        emit([check._asdict() for check in checks])
    else:
        table = Table("check", "finding", "what to do")
        for check in checks:
            table.add_row(check.name, check.finding, check.advice or "–")
        Console().print(table, highlight=False)
    return 1 if any(check.advice for check in checks) else 0


def _configuration(env_id: str | None, path: Path | None, overrides: Mapping[str, object]) -> "RunConfig":
    """Read the configuration that a run would have; without a file, unrelated fields get valid placeholders."""
    from flows.cli.flags import load_config

    unasked = {} if path is not None else {"training.max_steps": 10**6, "evaluation.max_steps": 1000}
    named = {} if env_id is None else {"env.id": env_id}
    return load_config(path, {**unasked, **overrides, **named})


def _environment(config: "RunConfig", settings: "Settings") -> Iterator[Check]:
    """Inspect an environment as a run would; raise ConfigError if a run would refuse it."""
    from evo_core.envs.inspection import inspect_environment

    spec = inspect_environment(config, settings.packages)
    from evo_core.evaluation.preflight import check_fitness

    check_fitness(config)
    from evo_core.envs.notices import notices
    from evo_core.records.failures import MemberFailure

    yield Check("observation space", str(spec.spaces.observation))
    yield Check("action space", str(spec.spaces.action))
    yield Check("time limit", str(spec.time_limit), "" if spec.time_limit else "set evaluation.max_steps")
    yield from _networks(config, spec)
    yield _gymnasium(config)
    yield _wrappers(config)
    yield _worker(config, settings)
    for notice in notices(config, spec):
        yield Check("notice", notice)
    try:
        yield from _environment_behavior(config)
    except MemberFailure as failure:
        yield Check("1,000 random steps", str(failure), "fix the environment: its members would fail")


def _networks(config: "RunConfig", spec: "EnvSpec") -> Iterator[Check]:
    """Return the encoder of every leaf, and the parameter counts of the networks that would be built."""
    from evo_core.genome.genome import initial_genome
    from evo_core.networks.actor_critic import ActorCritic
    from evo_core.spaces.observations import ObservationLayout

    genome = initial_genome(config, spec.spaces.observation)
    encoder = genome.architecture.encoder
    parts = getattr(encoder, "parts", None) or dict.fromkeys(
        (leaf.name for leaf in ObservationLayout(spec.spaces.observation).leaves), encoder
    )
    yield Check("encoder", ", ".join(f"{leaf}: {part.kind}" for leaf, part in parts.items()))
    network = ActorCritic(genome, spec.spaces)
    yield Check("actions", type(network.distribution).__name__)
    yield Check("parameters", f"{sum(p.numel() for p in network.parameters()):,}")


def _gymnasium(config: "RunConfig") -> Check:
    """Run Gymnasium's own checker on the bare environment."""
    from gymnasium.utils.env_checker import check_env

    from evo_core.envs.making import make_env

    env = make_env(config.env)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            check_env(env.unwrapped, skip_render_check=True, skip_close_check=True)
        except Exception as error:  # the checker passes on any exception of the environment
            finding = f"{type(error).__name__}: {error}".split("\n")[0]
            return Check("Gymnasium's checker", finding, "fix the environment: it breaks Gymnasium's interface")
        finally:
            env.close()
    remarks = [_COLORS.sub("", str(warning.message)) for warning in said]
    return Check("Gymnasium's checker", "; ".join(["passed", *dict.fromkeys(remarks)]))


def _wrappers(config: "RunConfig") -> Check:
    """Compare two episodes of one instance with the same seed."""
    from evo_core.config.parsing import ConfigError
    from evo_core.envs.wrapper_state import require_stateless

    try:
        require_stateless(config.env)
    except ConfigError as error:
        return Check("wrappers", str(error), "change the wrappers: a run refuses them")
    return Check("wrappers", "none carries state from episode to episode")


def _worker(config: "RunConfig", settings: "Settings") -> Check:
    """Try the environment in a process like those that members run in."""
    from tasks.worker.tryout import try_in_worker

    in_thread = settings.engine != "local"
    where = f"a {'thread' if in_thread else 'main thread'} of a worker's process"
    problem = try_in_worker(config, settings.packages, in_thread=in_thread)
    if problem is None:
        return Check("in a worker", f"made and stepped in {where}")
    advice = "make it work in a process that is not this one: members run there"
    return Check("in a worker", f"in {where}: {problem}", advice)


def _environment_behavior(config: "RunConfig") -> Iterator[Check]:
    """Play random actions: twice the same, then against the clock. Raises MemberFailure when the environment breaks."""
    from evo_core.envs.determinism import RandomActions, first_difference
    from evo_core.envs.sync_vector import SyncEnvs

    difference = first_difference(config.env)
    advice = "draw all randomness from self.np_random, which reset(seed=…) seeds: runs cannot be repeated otherwise"
    yield Check(
        "deterministic under a seed", difference or "yes, over 1,000 random steps", advice if difference else ""
    )
    envs = SyncEnvs(config.env, range(config.env.num_envs))
    actions = RandomActions(envs)
    try:
        began = time.perf_counter()
        while (took := time.perf_counter() - began) < MEASURED_S:
            envs.step(actions.draw())
    finally:
        envs.close()
    rate = envs.steps / took
    yield Check("speed", f"{rate:,.0f} steps/s on one core, {envs.count} environments in turn, random actions")


def _versions() -> Iterator[Check]:
    for name in LIBRARIES:
        try:
            yield Check(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "missing", f"pip install {name}, or reinstall evolve-rl")


def _packages() -> Iterator[Check]:
    """Yield where each of our packages is; a command does not start with another one in its place."""
    for name in PACKAGES:
        yield Check(f"package {name}", str(ROOT / name))


def _device() -> Check:
    import torch
    from dask.system import CPU_COUNT as cores

    if torch.cuda.is_available():
        return Check("device", f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}, {cores} cores")
    return Check("device", f"CPU, {cores} cores, {torch.backends.cpu.get_cpu_capability()}")


def _slots(settings: "Settings") -> Check:
    """Return which workers a run would have on this machine, and on which GPUs, under these settings."""
    if settings.engine != "local":
        return Check("workers", f"those of {settings.engine}")
    slots = settings.slots(sys.maxsize)
    fewest = f"{settings.scale[0]} to " if settings.scale and settings.scale[0] < len(slots) else ""
    seen = Counter(slot.environment[VISIBLE] for slot in slots if slot.environment)
    where = ", ".join(f"{count} on GPU {name}" for name, count in seen.items()) or "on the CPU"
    return Check("workers", f"{fewest}{len(slots)}, at most one per member: {where}")


def _prefect() -> Check:
    try:
        return Check("Prefect API", describe_api(require_configured_api()))
    except BadInput as error:
        finding, _, advice = str(error).partition("; ")
        return Check("Prefect API", finding, advice or "see the server's log")


def _store(settings: "Settings") -> Iterator[Check]:
    from flows.runs import run_ids
    from tasks.store import StoreError

    try:
        yield Check("store", f"{settings.store_url}: {len(run_ids(settings))} runs")
    except (StoreError, ValueError) as error:
        yield Check("store", settings.store_url, str(error))
