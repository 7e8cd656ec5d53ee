"""Run folders: what a training leaves, agents in and out of Stable-Baselines3, where commands may write."""
