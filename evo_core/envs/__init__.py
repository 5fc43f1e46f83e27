"""Environments: construction, vectorization behind one interface, and inspection before a run."""

from evo_core.envs import tmaze

tmaze.register()
