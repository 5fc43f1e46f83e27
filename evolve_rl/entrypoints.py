"""The flows that deployments name as their entry points.

A worker's process imports this module by its name; `deployments` could be a module of the user's there.
"""

from evo_core.installation import prefer_own_packages, require_own_packages

prefer_own_packages()
require_own_packages()

from deployments.entrypoints import evaluate, evolve, gc, resume  # noqa: E402  the search path had to be put right

__all__ = ["evaluate", "evolve", "gc", "resume"]
