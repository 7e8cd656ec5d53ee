"""What setup.cfg cannot say: `CRYPTOENV_PARTS=environment pip install .` leaves `pretrain` and `agents` out."""

import os

from setuptools import find_packages, setup

PARTS = {"all": ["synthetic*", "cryptoenv*", "pretrain*", "agents*"], "environment": ["synthetic*", "cryptoenv*"]}
part = os.environ.get("CRYPTOENV_PARTS") or "all"
if part not in PARTS:
    raise SystemExit(f"CRYPTOENV_PARTS is {part!r}; allowed: {sorted(PARTS)}")
setup(packages=find_packages(include=PARTS[part]))
