"""Orchestration: the evolution as Prefect flows, the engine, the command line."""

from evo_core.installation import require_own_packages

require_own_packages()
