"""Behaviour cloning, reinforcement learning, evaluation, reports and the `cryptoenv` command line."""
