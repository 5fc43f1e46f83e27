"""One plugin of every kind for evolve."""
