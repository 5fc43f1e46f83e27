"""Environments: made as configured, stepped in vectors with one behaviour, and looked at before a run."""

from evo_core.envs import tmaze

tmaze.register()
