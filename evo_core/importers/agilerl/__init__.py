"""Configurations of AgileRL's PPO, turned into ours."""
