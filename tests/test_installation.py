"""The distribution's name, its two sizes, and the `cryptoenv` command beside packages of the same names."""

import ast
import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import agents
import cryptoenv
import pretrain
import synthetic
from cryptoenv_rl import PACKAGES
from synthetic.installation import DISTRIBUTION, install_hint

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "import sys, cryptoenv_rl; sys.exit(cryptoenv_rl.main())"


def command(before: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The console script's own call, with a folder in front of everything that is installed."""
    path = os.pathsep.join([str(before), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=before,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_runs_where_the_packages_are_ours(tmp_path: Path) -> None:
    done = command(tmp_path, "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"cryptoenv {cryptoenv.__version__}\n"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_of_another_distribution_is_named_and_not_run(package: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("print('foreign code has run')")
    done = command(tmp_path, "--version")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert repr(package) in done.stderr and str(tmp_path / package) in done.stderr and DISTRIBUTION in done.stderr


def test_a_missing_package_is_the_environment_alone(tmp_path: Path) -> None:
    for name in ("synthetic", "cryptoenv", "cryptoenv_rl.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    code = f"import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]; {COMMAND}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "'pretrain' is not installed" in done.stderr and "CRYPTOENV_PARTS" in done.stderr


def test_every_package_says_whose_it_is() -> None:
    assert [module.__distribution__ for module in (synthetic, cryptoenv, pretrain, agents)] == [DISTRIBUTION] * 4


def test_the_door_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse((ROOT / "cryptoenv_rl.py").read_text("utf-8"))
    found = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    found |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert found <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("part", "packages"), [("", set(PACKAGES)), ("all", set(PACKAGES)), ("environment", {"synthetic", "cryptoenv"})]
)
def test_the_environment_alone_is_a_size_of_the_distribution(part: str, packages: set[str]) -> None:
    code = (
        "from distutils.core import run_setup; made = run_setup('setup.py', stop_after='init');"
        "made.parse_config_files();"
        "print(made.get_name(), *made.py_modules, *made.packages)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import setuptools; {code}"],
        cwd=ROOT, env={**os.environ, "CRYPTOENV_PARTS": part}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    name, module, *found = done.stdout.split()
    assert (name, module) == (DISTRIBUTION, "cryptoenv_rl")
    assert {name.split(".")[0] for name in found} == packages


def test_an_unknown_size_is_refused() -> None:
    environment = {**os.environ, "CRYPTOENV_PARTS": "some"}
    done = subprocess.run([sys.executable, "setup.py", "--name"], cwd=ROOT, env=environment, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode != 0
    assert "['all', 'environment']" in done.stderr


def test_hints_name_a_checkout_or_the_distribution(tmp_path: Path) -> None:
    assert install_hint("agents") == f'pip install -e ".[agents]" in the folder {ROOT}'
    assert install_hint("data", tmp_path) == 'pip install "cryptoenv-rl[data]"'


def test_nothing_sends_people_to_the_stranger_on_pypi() -> None:
    files = [path for folder in (*PACKAGES, "docs", "examples", "tests", "benchmarks") for kind in ("py", "md", "yaml")
             for path in (ROOT / folder).rglob(f"*.{kind}")]  # fmt: skip
    files += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "setup.cfg", "constraints.txt")]
    wrong = re.compile(r"\bcryptoenv\[\w|pip install \"?cryptoenv(?![-\w])")
    found = [f"{path}: {line}" for path in files if path != Path(__file__)
             for line in path.read_text("utf-8").splitlines() if wrong.search(line)]  # fmt: skip
    assert not found, "\n".join(found)
    assert wrong.search('pip install "cryptoenv[agents]"') and wrong.search("pip install cryptoenv")
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert config["metadata"]["name"] == DISTRIBUTION
