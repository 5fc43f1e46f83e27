"""The kinds of plugins: how each is called, its group of entry points, and the one method that it must have."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluginKind:
    """A kind of plugin.

    `noun` names it in messages; `group` is the group of entry points by which packages offer theirs; `method` the one
    that is required (`__call__`: a function will do); `own` the names that need no plugin.
    """

    noun: str
    group: str
    method: str
    own: tuple[str, ...] = ()


ENCODER = PluginKind("encoder", "evolve.encoders", "features", ("auto", "mlp", "simba", "cnn"))
MUTATION = PluginKind(
    "mutation",
    "evolve.mutations",
    "mutate",
    ("none", "no_mutation", "architecture", "parameters", "activation", "rl_hp"),
)
SELECTOR = PluginKind("selector", "evolve.selectors", "select", ("tournament", "truncation"))
VECTOR_BACKEND = PluginKind(
    "vector backend", "evolve.vector_backends", "make", ("auto", "sync", "async", "native", "envpool")
)
TRACKER = PluginKind("tracker", "evolve.trackers", "log", ("csv", "tensorboard", "wandb", "mlflow"))

FITNESS = PluginKind(
    "fitness function", "evolve.fitness", "__call__", ("return", "success", "length", "parameters", "flops")
)

PLUGIN_KINDS = (ENCODER, MUTATION, SELECTOR, FITNESS, VECTOR_BACKEND, TRACKER)
