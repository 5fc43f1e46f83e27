"""Conversion of AgileRL's PPO configurations."""
