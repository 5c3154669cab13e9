"""Random requests: none is answered with 500, none breaks the server. A short budget, a longer one by hand.

``REGSETUP_FUZZ=100000 pytest tests/registry/test_fuzz.py`` sends as many; the seed is printed on failure.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import socket
from typing import TYPE_CHECKING

from regsetup.reference import Digest
from tests.registry.harness import image

if TYPE_CHECKING:
    from tests.registry.harness import Running

PATIENCE = 0.1  # seconds
BUDGET = int(os.environ.get("REGSETUP_FUZZ", "1500"))
SEED = int(os.environ.get("REGSETUP_FUZZ_SEED", str(random.randrange(1 << 30))))
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"]
DIGESTS = [str(Digest.of(b"{}")), str(Digest.of(b"x", "sha512")), "sha256:", "sha256:zz", "md5:1", "a" * 300]
NAMES = ["app", "a/b/c", "A", "..", "a" * 260, "-", "%2e%2e", "a//b", "_catalog", "blobs/uploads", "%ff", "é"]
TAILS = [
    "manifests/latest",
    "manifests/{digest}",
    "manifests/%00",
    "blobs/{digest}",
    "blobs/uploads/",
    "blobs/uploads/{upload}",
    "tags/list",
    "referrers/{digest}",
    "{junk}",
]
QUERIES = [
    "",
    "?digest={digest}",
    "?mount={digest}&from=app",
    "?n=1&last=x",
    "?n=-1",
    "?tag=a&tag=.",
    "?%",
    "?{junk}",
]
HEADERS = {
    "Content-Range": ["0-1", "5-2", "x", "0-99999999999999999999", "bytes 0-1/2"],
    "Range": ["bytes=0-1", "bytes=-", "bytes=5-1", "bytes=0-99999999999999999999999", "x=1"],
    "Content-Type": ["application/json", "x", "application/vnd.oci.image.manifest.v1+json", "\xe9"],
    "If-None-Match": ['"x"', "*", ",,", 'W/"'],
    "If-Range": ['"x"', "Mon"],
    "Expect": ["100-continue", "200-ok"],
    "Authorization": ["Basic", "Basic \xff", "Bearer x"],
    "Content-Encoding": ["gzip", "x"],
    "Transfer-Encoding": ["chunked", "gzip, chunked", "x"],
    "Upgrade": ["websocket", "h2c"],
    "Accept": ["*/*", "x"],
}
BODIES = [b"", b"{}", b"x" * 1000, image(b"{}"), b"\xff\x00", b"[" * 5000, b"5\r\nhello\r\n0\r\n\r\n"]


def make(chance: random.Random, uploads: list[str]) -> bytes:
    junk = "".join(chr(chance.randrange(33, 127)) for _ in range(chance.randrange(20)))
    words = {"digest": chance.choice(DIGESTS), "upload": chance.choice([*uploads, "x", ".."]), "junk": junk}
    path = f"/v2/{chance.choice(NAMES)}/{chance.choice(TAILS)}{chance.choice(QUERIES)}"
    for name, text in words.items():
        path = path.replace(f"{{{name}}}", text)
    body = chance.choice(BODIES)
    lines = [f"{chance.choice(METHODS)} {path} HTTP/1.{chance.choice('0111')}", "Host: x"]
    lines += [
        f"{name}: {chance.choice(HEADERS[name])}"
        for name in chance.sample(sorted(HEADERS), chance.randrange(4))
    ]
    if chance.random() < 0.9:
        lines.append(f"Content-Length: {len(body) + chance.choice([0, 0, 0, 0, -1])}")
    lines.append("Connection: close")
    request = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body
    if chance.random() < 0.05:
        at = chance.randrange(len(request))
        request = request[:at] + bytes([chance.randrange(256)]) + request[at + 1 :]
    return request


def answers(port: int, request: bytes) -> list[int]:
    """Send a request and return the statuses that come back; one that lacks something gets little time."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        try:
            connection.sendall(request)
            while piece := connection.recv(1 << 16):
                got += piece
        except (ConnectionError, TimeoutError):
            pass
    return [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", got, re.MULTILINE)]


def test_no_request_is_answered_with_500(registry: Running) -> None:
    chance = random.Random(SEED)
    with registry.client() as client:
        client.push_image("app", config=b"{}")
        uploads = [
            client.ask("POST", "/v2/app/blobs/uploads/")["Location"].rpartition("/")[2] for _ in range(3)
        ]
    seen: set[int] = set()
    for number in range(BUDGET):
        request = make(chance, uploads)
        found = answers(registry.port, request)
        assert not {status for status in found if status >= 500}, (SEED, number, request)
        seen.update(found)
    assert {200, 400, 404, 405} <= seen
    with registry.client() as client:
        assert client.get("/v2/").status == http.client.OK
    assert "Traceback" not in registry.log.read_text()
