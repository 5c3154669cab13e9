"""The house stands: imports point one way, and the heavy or dangerous modules are where they belong."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bed.run import free_port

PACKAGE = Path(__file__).parents[2] / "regsetup"

# Lowest first; a module imports its own layer and those below. A new module needs a line here.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        {"amounts", "errors", "manifest", "memory", "pace", "reference", "secret", "web_links", "writeout"}
    ),
    frozenset({"deployment", "observed", "auth", "storage"}),
    frozenset(
        {
            "acme",
            "called",
            "plan",
            "given",
            "load",
            "settings",
            "settings_file",
            "host",
            "trust",
            "client",
            "templating",
        }
    )
    | {"credentials", "image", "step"},
    frozenset({"backends", "certify", "state", "trust_here", "users"}),
    frozenset({"observe"}),
    frozenset(
        {
            "apply",
            "backup",
            "bundle",
            "contents",
            "deploy",
            "doctor",
            "handover",
            "history",
            "probe",
            "prove",
            "remote",
            "safeguard",
            "schedule",
            "smoke",
            "status",
            "steps",
            "teardown",
            "transfer",
            "upgrade",
            "waiting",
        }
    ),
    frozenset({"cli"}),
)
REGISTRY_MAY = frozenset(
    {
        "registry",
        "errors",
        "manifest",
        "memory",
        "pace",
        "reference",
        "secret",
        "web_links",
        "writeout",
        "auth",
    }
)
COLLECTS = {  # a container's storage, while the container is stopped; the command line also runs `serve`
    ("contents", "regsetup.registry.collecting"),
    ("contents", "regsetup.registry.gc"),
    ("contents", "regsetup.registry.survey"),
    ("backends", "regsetup.registry.survey"),
}
UNLAYERED = frozenset({"regsetup", "regsetup.__main__"})  # the version, and the program's first lines

# Third-party or standard module -> the parts of regsetup (prefixes of module names) that may import it.
KEPT_TO: dict[str, tuple[str, ...]] = {
    "docker": ("regsetup.backends", "regsetup.trust.proof"),
    "typer": ("regsetup.cli",),
    "click": ("regsetup.cli",),
    "rich": ("regsetup.cli",),
    "subprocess": ("regsetup.host.process",),
    "aiohttp": ("regsetup.registry",),
}
PROGRAM_STARTERS = {"system", "popen", "create_subprocess_exec", "create_subprocess_shell", "posix_spawn"}
HEAVY = {
    "docker",
    "requests",
    "jinja2",
    "aiohttp",
    "cryptography",
    "bcrypt",
    "urllib3",
    "yaml",
    "zstandard",
    "isal",
}


@dataclass(frozen=True, slots=True)
class Import:
    """``importer`` imports ``imported`` at ``line`` of its file, at the top or inside a function."""

    importer: str
    imported: str
    line: int


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(name: str, source: str) -> list[Import]:
    found: list[Import] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(name, alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: imports are absolute"
            module = node.module or ""
            inner = [f"{module}.{alias.name}" for alias in node.names] if module == "regsetup" else [module]
            found += [Import(name, one, node.lineno) for one in inner]
    return found


def part(module: str) -> str:
    """Return the second name, ``host`` of ``regsetup.host.files``, or the first where there is one only."""
    return ".".join(module.split(".")[1:2]) or module


def layer(module: str) -> int:
    for number, members in enumerate(LAYERS):
        if part(module) in members:
            return number
    raise AssertionError(f"{module} has no layer: give it one in LAYERS")


def wrong_way(found: list[Import]) -> list[str]:
    """Return a sentence for each import that points up, or into or out of the bundled registry."""
    wrong = []
    for one in found:
        if one.importer in UNLAYERED or one.imported.partition(".")[0] != "regsetup":
            continue
        if one.imported in UNLAYERED or part(one.imported) == "__version__":
            continue
        if part(one.importer) == "registry":
            good = part(one.imported) in REGISTRY_MAY
        elif part(one.imported) == "registry":
            good = (part(one.importer), one.imported) in COLLECTS or part(one.importer) == "cli"
        else:
            good = layer(one.imported) <= layer(one.importer)
        if not good:
            wrong.append(f"{one.importer}:{one.line} imports {one.imported}")
    return wrong


def out_of_place(found: list[Import]) -> list[str]:
    return [
        f"{one.importer}:{one.line} imports {one.imported}"
        for one in found
        if (homes := KEPT_TO.get(one.imported.partition(".")[0])) and not one.importer.startswith(homes)
    ]


def starts_programs(name: str, source: str) -> list[str]:
    return [
        f"{name}:{node.lineno} calls {node.func.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in PROGRAM_STARTERS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"os", "asyncio"}
    ]


SOURCES = {module_name(path): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
IMPORTS = [one for name, source in SOURCES.items() for one in imports_of(name, source)]


def test_imports_point_one_way() -> None:
    assert wrong_way(IMPORTS) == []


def test_every_module_has_a_layer() -> None:
    for name in SOURCES.keys() - UNLAYERED:
        assert part(name) == "registry" or layer(name) >= 0


def test_modules_with_a_home_are_imported_there_only() -> None:
    assert out_of_place(IMPORTS) == []


def test_programs_are_started_in_one_place() -> None:
    assert [found for name, source in SOURCES.items() for found in starts_programs(name, source)] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("regsetup.plan", "from regsetup.apply import x"),
        ("regsetup.plan", "def f():\n    import regsetup.cli.main"),
        ("regsetup.errors", "from regsetup import deployment"),
        ("regsetup.registry.blobs", "from regsetup.client import x"),
        ("regsetup.backends.embedded", "from regsetup.registry.server import serve"),
    ],
)
def test_an_import_that_points_up_is_found(name: str, source: str) -> None:
    assert len(wrong_way(imports_of(name, source))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("regsetup.smoke", "import docker.errors"),
        ("regsetup.load", "from rich.console import Console"),
        ("regsetup.registry.gc", "import subprocess"),
    ],
)
def test_an_import_away_from_home_is_found(name: str, source: str) -> None:
    assert len(out_of_place(imports_of(name, source))) == 1


def test_a_program_that_is_started_elsewhere_is_found() -> None:
    assert len(starts_programs("regsetup.plan", "import os\nos.system('true')")) == 1


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    modules = [name for name in SOURCES if part(name) == "cli"]
    program = (
        f"import json, sys\nfor name in {modules!r}: __import__(name)\nprint(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded & HEAVY == set()


def test_a_command_with_plain_values_does_without_the_checks_of_typer() -> None:
    program = "import sys; from regsetup.cli import run; run(sys.argv[1:]); print('pydantic' in sys.modules)"
    command = [
        sys.executable,
        "-c",
        program,
        "exists",
        f"127.0.0.1:{free_port()}/app:1",
        "--plain-http",
        "-q",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert "refuses the connection" in done.stderr
