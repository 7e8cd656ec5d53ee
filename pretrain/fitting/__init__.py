"""The one path by which models are trained, kept and tuned."""

from synthetic.import_paths import lazy_names

_HOMES = {
    "CHECKPOINTS": "pretrain.fitting.fitting",
    "LOG": "pretrain.fitting.fitting",
    "MONITOR": "pretrain.fitting.fitting",
    "Diverged": "pretrain.fitting.fitting",
    "FitOptions": "pretrain.fitting.fitting",
    "Measured": "pretrain.fitting.fitting",
    "Task": "pretrain.fitting.fitting",
    "TaskLearner": "pretrain.fitting.fitting",
    "fit": "pretrain.fitting.fitting",
    "refuse_earlier_run": "pretrain.fitting.fitting",
    "uses_bfloat16": "pretrain.fitting.fitting",
}

__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
