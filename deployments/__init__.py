"""The service: deployments, their forms, and what runs them."""

from evo_core.installation import require_own_packages

require_own_packages()
