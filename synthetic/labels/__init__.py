"""Labels of bars and of markets whose truth is known. Each says how far it looks ahead."""

from synthetic.labels.oracle import oracle_labels
from synthetic.labels.path import path_labels
from synthetic.labels.targets import NO_LABEL

__all__ = [
    "NO_LABEL",
    "oracle_labels",
    "path_labels",
]
