"""Agents made of agents: several that decide together, a slow one that limits a fast one."""
