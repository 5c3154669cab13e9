"""``up --bundle``: what is wanted, with the image taken out of a bundle."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from regsetup.bundle.format import IMAGE
from regsetup.bundle.reading import read
from regsetup.host.files import CannotWrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regsetup.load import Loaded


@contextlib.contextmanager
def unpacked(loaded: Loaded) -> Iterator[Loaded]:
    """Check the bundle whole, if there is one, and have its image in a file for the block.

    Raises:
        BundleUnreadable, NotABundle, BundleTooNew, BundleDamaged, BundleUnsafe, CannotWrite: nothing was
            done yet.
    """
    bundle = loaded.deployment.bundle
    if bundle is None:
        yield loaded
        return
    with scratch() as directory:
        image = directory / IMAGE
        held = read(bundle, image).about.image
        deployment = replace(loaded.deployment, image_archive=image if held else None)
        yield replace(loaded, deployment=deployment)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Have a directory for the block, where ``TMPDIR`` says.

    Raises:
        CannotWrite: no rights, no space.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="regsetup-bundle-")
    except OSError as error:
        raise CannotWrite(Path(error.filename or "TMPDIR"), error) from error
    with made as directory:
        yield Path(directory)
