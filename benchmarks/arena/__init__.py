"""The arena: search methods compared at an equal total number of environment steps, all on the core of this project."""
