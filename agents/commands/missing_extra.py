"""What to install when an optional dependency is missing, in one line."""

from __future__ import annotations

#: The extra that brings a module which is imported when it is needed; all others come with `agents`.
EXTRA_OF = {
    "sklearn": "report", "scipy": "report", "matplotlib": "report", "PIL": "report",
    "plotly": "report", "jinja2": "report",
    "river": "drift",
    "optuna": "tuning",
    "ccxt": "data",
    "mlflow": "tracking", "sqlalchemy": "tracking", "alembic": "tracking", "flask": "tracking",
    "ray": "distributed",
    "fastapi": "serve", "uvicorn": "serve", "websockets": "serve", "prometheus_client": "serve", "orjson": "serve",
    "datasets": "agents,imitation-deps", "jsonpickle": "agents,imitation-deps",
}  # fmt: skip
OF_LEARNING = frozenset({"torch", "lightning", "safetensors", "tensorboard", "stable_baselines3", "sb3_contrib"})
#: What needs no learning library asks for no more than the small extra.
SMALL = {"data": "data"}


def extra_for(module: str, command: str) -> str:
    """The extra that brings `module` (its full name) to a command."""
    top = module.partition(".")[0]
    if top not in OF_LEARNING and top not in EXTRA_OF:
        return SMALL.get(command, "agents")
    return EXTRA_OF.get(top, "agents")


def extra_is_missing(error: ModuleNotFoundError, command: str) -> str:
    """One line that says which extra a command needs."""
    if not error.name or "pip install" in str(error):
        return str(error)  # says so itself
    from synthetic.installation import install_hint  # only when something is missing

    return f"`cryptoenv {command}` needs the module {error.name!r}: {install_hint(extra_for(error.name, command))}"
