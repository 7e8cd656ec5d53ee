"""A Hugging Face GPT-2 on disk as a start: its blocks, norms and places; its words are left behind."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.durable_files import read_regular
from cryptoenv.files.typed_values import ConfigError
from pretrain.forecaster.config import ForecasterConfig
from pretrain.forecaster.model import ForecasterModel

CONFIG, WEIGHTS = "config.json", "model.safetensors"
MOST_BYTES = 16 * 1024**3
FROZEN = ("attn", "mlp")  #: of each block


def gpt2_values(folder: Path) -> dict[str, Any]:
    """The configuration in a folder of a GPT-2.

    Raises:
        ConfigError: no such folder, a file is missing, or it is none of a GPT-2.
    """
    if not folder.is_dir():
        raise ConfigError(f"--init {folder}: no such folder")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ConfigError(f"--init {folder}: {name} is missing; wanted are {CONFIG} and {WEIGHTS} (no pickles)")
    try:
        values = parse_json(read_regular(folder / CONFIG, 2**20), CONFIG)
    except (JsonError, OSError, ValueError) as error:
        raise ConfigError(f"--init {folder}: {error}") from error
    if not isinstance(values, dict) or values.get("model_type") != "gpt2":
        raise ConfigError(f"--init {folder}: {CONFIG} is not that of a GPT-2 (model_type 'gpt2')")
    return values


def like_gpt2(config: ForecasterConfig, folder: Path) -> ForecasterConfig:
    """The architecture with the width, layers, heads and feed-forward units of the GPT-2 in a folder.

    Raises:
        ConfigError: as `gpt2_values`; another network; or the window and path need more places than it has.
    """
    values = gpt2_values(folder)
    if config.network != "gpt":
        raise ConfigError(f"--init is for the network 'gpt', the recipe has {config.network!r}")
    try:
        width = int(values["n_embd"])
        sizes: dict[str, Any] = {
            "width": width, "layers": int(values["n_layer"]), "heads": int(values["n_head"]),
            "feedforward": int(values.get("n_inner") or 4 * width),
        }  # fmt: skip
        places = int(values["n_positions"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"--init {folder}: {CONFIG} lacks a number of a GPT-2: {error}") from error
    if config.tokens_in_all > places:
        raise ConfigError(
            f"--init {folder}: it has {places} places, window {config.window} and {config.steps} steps need "
            f"{config.tokens_in_all}"
        )
    return replace(config, **sizes)


def take_gpt2(model: ForecasterModel, folder: Path, *, frozen: bool) -> str:
    """Puts the weights of the GPT-2 in a folder into a model of its sizes.

    Args:
        model: by `like_gpt2`.
        folder: of the GPT-2.
        frozen: attention and feed-forward layers are not to be trained.

    Returns:
        sha256 (hex) of the weights' file.

    Raises:
        ConfigError: a tensor is missing, or of another shape.
    """
    import safetensors
    import safetensors.torch

    data = read_regular(folder / WEIGHTS, MOST_BYTES)
    try:
        found = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError) as error:
        raise ConfigError(f"--init {folder}: {WEIGHTS} is no safetensors file: {error}") from error
    found = {name.removeprefix("transformer."): tensor for name, tensor in found.items()}
    blocks: nn.Module = model.get_submodule("network.blocks")
    wanted = blocks.state_dict()
    taken = {}
    for name, tensor in wanted.items():
        if name == "wte.weight":
            taken[name] = tensor
            continue
        if name not in found:
            raise ConfigError(f"--init {folder}: {WEIGHTS} lacks the tensor {name!r} of a GPT-2")
        given = found[name][: len(tensor)] if name == "wpe.weight" else found[name]
        if given.shape != tensor.shape:
            raise ConfigError(
                f"--init {folder}: tensor {name!r} is {tuple(given.shape)}, its {CONFIG} wants {tuple(tensor.shape)}"
            )
        taken[name] = given.to(torch.float32)
    blocks.load_state_dict(taken)
    for name, parameter in blocks.named_parameters():
        if frozen and any(f".{part}." in name for part in FROZEN):
            parameter.requires_grad_(False)
    return hashlib.sha256(data).hexdigest()
