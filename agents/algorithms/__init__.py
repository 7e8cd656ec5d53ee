"""Reinforcement learning from a clone: one algorithm a file, and what they share."""
