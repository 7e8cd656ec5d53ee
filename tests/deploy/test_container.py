"""Dockerfile and compose file by the rules that hadolint and others check, where no Docker is at hand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from agents.command_line import app

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
KNOWN = frozenset(
    ("FROM", "SHELL", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT",
     "CMD")
)  # fmt: skip
SECRET = re.compile(r"(?i)(?:key|secret|password|token)s?\s*=")


def instructions(text: str) -> list[tuple[str, str]]:
    """Instructions and what they say, lines that go on joined, comments left out."""
    kept = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", kept).splitlines()
    return [(word.upper(), rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in lines)]


def faults(text: str, root: Path = ROOT) -> Iterator[str]:
    """What hadolint and the like would say of a Dockerfile; DL numbers are hadolint's."""
    found = instructions(text)
    words = [word for word, _ in found]
    yield from (f"{word} is not known" for word in words if word not in KNOWN)
    stages = set()
    for word, rest in found:
        if word == "FROM":
            image, _, stage = rest.partition(" AS ")
            tag = image.rpartition(":")[2] if ":" in image else ""
            if image not in stages and (not re.match(r"\d+\.\d+\.\d+", tag) or "latest" in tag):
                yield f"DL3006/7: {image} is not pinned to a version"
            if "slim" not in image:
                yield f"{image} is not slim"
            stages.add(stage)
        if word == "RUN":
            if "apt-get" in rest and ("rm -rf /var/lib/apt/lists" not in rest or "--no-install-recommends" not in rest):
                yield "DL3009/15: apt lists stay, or what is recommended comes too"
            if "apt-get install" in rest and "apt-get update" not in rest:
                yield "apt-get install without update in the same layer"
            if re.search(r"\bapt-get (?:dist-)?upgrade\b|\bsudo\b|\bcd /", rest):
                yield f"DL3003/4/5: {rest[:60]}"
            if "pip install" in rest and ("--no-cache-dir" not in rest or "-c constraints.txt" not in rest):
                yield "DL3042/13: pip keeps its cache, or versions are not pinned"
        if word == "WORKDIR" and not rest.startswith("/"):
            yield "DL3000: a WORKDIR that is not absolute"
        if word in ("CMD", "ENTRYPOINT") and not rest.startswith("["):
            yield f"DL3025: {word} is no JSON list"
        if word == "ENV" and SECRET.search(rest):
            yield "a secret in ENV"
        if word == "COPY" and "--from" not in rest:
            yield from (f"COPY of {one}, which is not there" for one in rest.split()[:-1] if not (root / one).exists())
    last = found[len(words) - 1 - words[::-1].index("FROM") :]
    user = [rest for word, rest in last if word == "USER"]
    if not user or user[-1].split(":")[0] in ("root", "0") or [w for w, _ in last].index("USER") > len(last) - 2:
        yield "DL3002: the last user is root"
    if words.count("HEALTHCHECK") != 1 or words.count("CMD") != 1 or words.count("ENTRYPOINT") != 1:
        yield "DL3012/DL4003/4: one HEALTHCHECK, one CMD, one ENTRYPOINT"


def test_the_dockerfile_keeps_the_rules() -> None:
    assert list(faults(DOCKERFILE)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("python:3.11.13-slim-bookworm AS build", "python:latest AS build"),
        ("FROM python:3.11.13-slim-bookworm\n", "FROM python\n"),
        ("USER 10001:10001", "USER root"),
        ("USER 10001:10001\n", ""),
        ("    && rm -rf /var/lib/apt/lists/* \\\n", ""),
        ("--no-install-recommends ", ""),
        ("--no-cache-dir ", ""),
        ('CMD ["/models/current", ', "CMD /models/current "),
        ("WORKDIR /tmp", "WORKDIR tmp"),
        ("PYTHONUNBUFFERED=1", "PYTHONUNBUFFERED=1 SERVE_KEY=abc"),
        ("COPY agents agents", "COPY agent agents"),
    ],
)
def test_a_planted_fault_is_found(old: str, new: str) -> None:
    assert old in DOCKERFILE
    assert list(faults(DOCKERFILE.replace(old, new, 1)))


def test_what_the_container_runs_is_a_command_of_ours() -> None:
    by_word = dict(instructions(DOCKERFILE))
    words = [*yaml.safe_load(by_word["ENTRYPOINT"]), *yaml.safe_load(by_word["CMD"])]
    command: Any = typer.main.get_command(app)
    assert words[:2] == ["cryptoenv", "serve"]
    command.commands["serve"].make_context("serve", words[2:])
    assert "--keys" in words and not any("latest" in word for word in shlex.split(by_word["CMD"]))


def test_the_compose_file_gives_no_more_than_is_needed() -> None:
    told = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))
    assert set(told["services"]) == {"serve", "prometheus"}
    for name, one in told["services"].items():
        assert one["read_only"] is True and one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"] and one["user"].split(":")[0] not in ("0", "root")
        assert not one.get("privileged") and "network_mode" not in one
        assert re.search(r":v?\d+\.\d+\.\d+$", one["image"]), one["image"]
        assert all(port.startswith("127.0.0.1:") for port in one["ports"])
        assert all(volume.endswith(":ro") for volume in one["volumes"] if not volume.startswith("figures:"))
        assert "environment" not in one  # no secret in what `docker inspect` shows
    assert told["services"]["serve"]["build"]["context"] == ".." and (ROOT / "Dockerfile").is_file()
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus.yaml").read_text("utf-8"))
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["serve:8000"] and job["authorization"]["credentials_file"]


def test_the_context_holds_no_runs_and_no_keys() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert lines[0] == "*"
    opened = {line[1:] for line in lines if line.startswith("!")}
    copied = {one for word, rest in instructions(DOCKERFILE) if word == "COPY" and "--from" not in rest
              for one in rest.split()[:-1]}  # fmt: skip
    assert opened == copied
