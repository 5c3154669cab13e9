"""Records docs/session.svg: commands really run, with a dockerd of their own, as a terminal shows them.

Needs what the tests need: root, dockerd, and Debian's docker-registry for the image registry:2. Port 5000
must be free. Nothing is edited but the path of REGSETUP_HOME, which reads as its default would.
"""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.bed.engine import PrivateEngine
from tests.bed.images import REGISTRY_IMAGE, busybox_archive, ensure_registry_image, load

WIDTH = 84  # columns; what fits beside GitHub's margins without being scaled down much
DEFAULT_HOME = "/var/lib/regsetup"  # as long as what mkdtemp("rec-") makes, so that no line breaks elsewhere
SESSION = (
    "regsetup up --user alice --password-file secret",
    "docker login localhost:5000 -u alice --password-stdin < secret 2>/dev/null",
    "docker tag hello:1 localhost:5000/hello:1 && docker push -q localhost:5000/hello:1",
    "regsetup adduser bob --generate",
    "regsetup check",
    "regsetup teardown",
)


def main() -> None:
    """Record; where that can't be done the picture stays as it is, which is no failure of ``make docs``."""
    try:
        record()
    except pytest.skip.Exception as lacking:
        print(f"docs/session.svg stays as it is: {lacking}")


def record() -> None:
    """Run the session and write the picture."""
    engine = PrivateEngine()
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    try:
        engine.start()
        with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory(prefix="rec-") as home:
            _prepare(engine, Path(place))
            for command in SESSION:
                shown = on_terminal(command, Path(place), _environment(engine, place, home))
                console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
                console.print(Text.from_ansi(shown.replace(home, DEFAULT_HOME)))
        picture = console.export_svg(title="regsetup", theme=MONOKAI, unique_id="session")
        Path(__file__).with_name("session.svg").write_text(picture)
    finally:
        engine.remove()


def _prepare(engine: PrivateEngine, place: Path) -> None:
    client = engine.client()
    try:
        ensure_registry_image(client, REGISTRY_IMAGE, shell=True)
        client.images.get(REGISTRY_IMAGE).tag("registry", "2")
        load(client, busybox_archive("hello:1"))
    finally:
        client.close()
    (place / "secret").write_text("correct horse battery staple\n")


def _environment(engine: PrivateEngine, place: str, home: str) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": place,
        "REGSETUP_HOME": home,
        "DOCKER_HOST": engine.url,
        "TERM": "xterm-256color",
        "COLUMNS": str(WIDTH),
        "LANG": "C.UTF-8",
    }


def on_terminal(command: str, place: Path, environment: dict[str, str]) -> str:
    """Run a command on a terminal and return what it showed there.

    Raises:
        SystemExit: it failed; a recording of that is of no use.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=place, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:  # EIO: the last process closed the terminal
        pass
    os.close(master)
    text = shown.decode().replace("\r\n", "\n")
    if process.wait() != 0:
        raise SystemExit(f"{command}\n{text}")
    return text.rstrip("\n") + "\n"


if __name__ == "__main__":
    main()
