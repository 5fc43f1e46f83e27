"""Prefect tasks, and the adapters that they need: store, runs, views, workers."""

from evo_core.installation import require_own_packages

require_own_packages()
