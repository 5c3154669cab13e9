"""Starts bundled registries as processes, and speaks HTTP to any registry, byte by byte if need be."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from regsetup.reference import Digest
from regsetup.registry.content import OCI_IMAGE, OCI_INDEX

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

DEADLINE = 15.0  # seconds a server may take to start or to end
_RUNNER = """
import sys
from pathlib import Path
from regsetup.errors import RegsetupError
from regsetup.registry.server import serve
from regsetup.registry.settings import Settings
try:
    sys.exit(serve(Settings(**eval(sys.argv[1]))))
except RegsetupError as error:
    print(error.as_dict(), file=sys.stderr)
    sys.exit(error.exit_code)
"""


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        return [error["code"] for error in self.json()["errors"]]

    def __getitem__(self, header: str) -> str:
        value = self.headers[header]
        assert value is not None, f"no {header} in {self.headers.items()}"
        return str(value)


@dataclass
class Client:
    """HTTP on one kept connection; paths are relative to the registry's root."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    user: tuple[str, str] | None = None
    timeout: float = 30.0
    _connection: http.client.HTTPConnection | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        chunked: bool = False,
    ) -> Answer:
        sent = dict(headers or {})
        if self.user is not None:
            sent["Authorization"] = "Basic " + base64.b64encode(":".join(self.user).encode()).decode()
        connection = self._connect()
        connection.request(method, path, body, sent, encode_chunked=chunked)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        if response.will_close:
            self.close()
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            if self.tls is None:
                self._connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
            else:
                self._connection = http.client.HTTPSConnection(
                    self.host, self.port, timeout=self.timeout, context=self.tls
                )
        return self._connection

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    def head(self, path: str, **headers: str) -> Answer:
        return self.ask(
            "HEAD", path, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )

    def push_blob(self, repository: str, content: bytes, algorithm: str = "sha256") -> Digest:
        digest = Digest.of(content, algorithm)
        answer = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        assert answer.status == 202, answer
        glue = "&" if "?" in answer["Location"] else "?"
        location = local(answer["Location"])
        answer = self.ask("PUT", f"{location}{glue}digest={digest}", content)
        assert answer.status == 201, answer
        return digest

    def push_image(
        self,
        repository: str,
        reference: str | None = "latest",
        layers: tuple[bytes, ...] = (b"layer",),
        **more: Any,
    ) -> tuple[Digest, bytes]:
        """Push config, layers and a manifest; return its digest and bytes."""
        algorithm = more.pop("algorithm", "sha256")
        config = more.pop("config", b'{"architecture": "amd64", "os": "linux"}')
        manifest = image(config, layers, algorithm=algorithm, **more)
        for content in (config, *layers):
            self.push_blob(repository, content, algorithm)
        digest = Digest.of(manifest, algorithm)
        answer = self.push_manifest(repository, reference or str(digest), manifest)
        assert answer.status == 201, answer
        return digest, manifest

    def push_manifest(self, repository: str, reference: str, manifest: bytes) -> Answer:
        media_type = json.loads(manifest).get("mediaType", OCI_IMAGE)
        return self.ask(
            "PUT", f"/v2/{repository}/manifests/{reference}", manifest, {"Content-Type": media_type}
        )


def local(location: str) -> str:
    """Return the path and query of a Location, which may be absolute."""
    return re.sub(r"^https?://[^/]+", "", location)


def descriptor(content: bytes, media_type: str, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": str(Digest.of(content, algorithm)),
        "size": len(content),
        **more,
    }


def image(
    config: bytes = b"{}", layers: tuple[bytes, ...] = (), *, algorithm: str = "sha256", **more: Any
) -> bytes:
    """Return an OCI image manifest."""
    config_type = more.pop("config_type", "application/vnd.oci.image.config.v1+json")
    layer_type = more.pop("layer_type", "application/vnd.oci.image.layer.v1.tar")
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": descriptor(config, config_type, algorithm),
        "layers": [descriptor(layer, layer_type, algorithm) for layer in layers],
        **more,
    }
    return json.dumps(document).encode()


def index(*children: bytes, algorithm: str = "sha256", **more: Any) -> bytes:
    """Return an OCI index of manifests."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            descriptor(child, json.loads(child).get("mediaType", OCI_IMAGE), algorithm) for child in children
        ],
        **more,
    }
    return json.dumps(document).encode()


@dataclass
class Running:
    """A bundled registry in a process of its own."""

    root: Path
    process: subprocess.Popen[str]
    port: int
    log: Path
    host: str = "127.0.0.1"

    @classmethod
    def start(
        cls, root: Path, *, prelude: str = "", env: Mapping[str, str] | None = None, **settings: Any
    ) -> Self:
        """Start it and wait until it says that it listens; ``prelude`` is Python that runs before."""
        arguments = {"root": root, "port": 0, **settings}
        log = root.parent / f"{root.name}.log"
        with log.open("a") as errors:
            begin = errors.tell()
            process = subprocess.Popen(
                [sys.executable, "-c", prelude + _RUNNER, _literal(arguments)],
                stderr=errors,
                stdout=errors,
                text=True,
                env={**os.environ, **(env or {})},
            )
        port = _wait_for_port(process, log, begin)
        return cls(root, process, port, log)

    def client(self, **more: Any) -> Client:
        return Client(self.host, self.port, **more)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE)


def refuse_to_start(root: Path, **settings: Any) -> tuple[int, str]:
    """Start a registry that can't be started; return its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", _RUNNER, _literal({"root": root, "port": 0, **settings})],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stderr


def _literal(arguments: dict[str, Any]) -> str:
    """Return Python for the arguments of Settings, paths and all."""
    parts = [
        f"{name!r}: Path({str(value)!r})" if isinstance(value, Path) else f"{name!r}: {value!r}"
        for name, value in arguments.items()
    ]
    return "{" + ", ".join(parts) + "}"


def _wait_for_port(process: subprocess.Popen[str], log: Path, begin: int) -> int:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with log.open() as lines:
            lines.seek(begin)
            found = re.search(r"registry listens on \S+:(\d+),", lines.read())
        if found:
            return int(found.group(1))
        if process.poll() is not None:
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    raise AssertionError(f"the registry did not start: {log.read_text()[begin:]}")


def raw(port: int, request: bytes, *, timeout: float = 10.0) -> bytes:
    """Send bytes and return everything that comes back until the server closes or says nothing more."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def eventually(condition: Any, *, seconds: float = DEADLINE) -> None:
    """Poll until ``condition()`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@dataclass
class DockerRegistry:
    """Debian's docker-registry, which is registry:2, on a data directory."""

    root: Path
    process: subprocess.Popen[bytes]
    port: int
    config: Path
    host: str = "127.0.0.1"

    @classmethod
    def start(cls, root: Path, *, htpasswd: Path | None = None) -> Self:
        port = free_port()
        config = registry_config(root, port, htpasswd)
        log = root.parent / f"{root.name}.docker-registry.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["docker-registry", "serve", str(config)], stdout=output, stderr=output
            )
        running = cls(root, process, port, config)
        eventually(lambda: running._answers() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        return running

    def _answers(self) -> bool:
        try:
            with self.client(timeout=2) as client:
                return client.get("/").status == 200
        except OSError:
            return False

    def client(self, **more: Any) -> Client:
        return Client(self.host, self.port, **more)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE)


def registry_config(root: Path, port: int = 0, htpasswd: Path | None = None) -> Path:
    """Write a docker-registry configuration beside a data directory."""
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(root)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "tests"},
    }
    if htpasswd is not None:
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(htpasswd)}}
    path = root.parent / f"{root.name}.docker-registry.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    return path


def collect_garbage(root: Path, *flags: str) -> str:
    """Run docker-registry's garbage collector over a data directory."""
    done = subprocess.run(
        ["docker-registry", "garbage-collect", *flags, str(registry_config(root))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
