"""`cryptoenv warm`: compile beforehand, so that no first step waits."""

from __future__ import annotations

from typing import Annotated

import typer


def warm(
    jobs: Annotated[int | None, typer.Option(help="Processes at a time; one per core if not given.", min=1)] = None,
) -> None:
    """Compile what the environments run into numba's cache: for images, or before many processes start at once."""
    from cryptoenv.env.warming import PARTS, compiled_folder
    from cryptoenv.env.warming import warm as compile_parts
    from cryptoenv.progress import tqdm

    with tqdm(total=len(PARTS), desc="compiling") as bar:
        for part in compile_parts(jobs):
            bar.set_postfix_str(f"{part} done")
            bar.update()
    print(f"compiled code: {compiled_folder()}")
