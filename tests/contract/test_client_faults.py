"""The client against a server that lies, over a real socket: nothing hangs, nothing false is believed."""

from __future__ import annotations

import functools
import itertools
import json
import re
import socket
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from regsetup.client import (
    AnswerCut,
    Credentials,
    Denied,
    Descriptor,
    DigestMismatch,
    Endpoint,
    NotARegistry,
    NotFound,
    PlainHttp,
    RegistryClient,
    RegistryError,
    TooLarge,
    TooManyRequests,
    TooSlow,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
)
from regsetup.pace import Pace
from regsetup.reference import Digest
from regsetup.secret import Secret
from regsetup.web_links import next_page
from tests.bed.liar import Liar, reply, reply_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bed.liar import Handler, Request

CONTENT = b"x" * 1000
DIGEST = Digest.of(CONTENT)
ALICE = Credentials("alice", Secret("geheim"))
BASIC = 'Basic realm="x"'
OCI = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def asked(
    handler: Handler,
    call: Callable[[RegistryClient], object],
    *,
    credentials: Credentials | None = None,
    timeout: float = 5.0,
    patience: float = 3.0,
) -> list[Request]:
    """Make a call to a liar; return what it was sent."""
    with Liar(handler) as server:
        endpoint = Endpoint(server.url, credentials=credentials)
        with RegistryClient(endpoint, timeout, patience=patience) as client:
            call(client)
    return server.requests


def get(client: RegistryClient) -> bytes:
    return b"".join(client.get_blob("a", DIGEST))


def refused(
    kind: type[RegistryError], handler: Handler, call: Callable[[RegistryClient], object]
) -> RegistryError:
    with pytest.raises(kind) as caught:
        asked(handler, call, timeout=1.0)
    return caught.value


# Content


def test_true_content_is_given() -> None:
    assert len(asked(lambda _: reply(200, CONTENT), lambda client: get(client))) == 1


def test_another_content_is_a_mismatch_after_the_last_piece() -> None:
    error = refused(DigestMismatch, lambda _: reply(200, b"y" * 1000), get)
    assert error.code == "digest-mismatch"
    assert str(DIGEST) in error.message


def test_content_that_is_longer_than_expected_is_stopped() -> None:
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    def handler(_: Request) -> Iterator[bytes]:
        yield endless
        yield from itertools.repeat(b"10000\r\n" + b"x" * 0x10000 + b"\r\n", 100_000)

    error = refused(
        UnexpectedAnswer, handler, lambda client: list(client.get_blob("a", DIGEST, limit=1_000_000))
    )
    assert error.cause == "more than 1000000 bytes long"


@pytest.mark.parametrize("method", ["catalog", "ping", "manifest"])
def test_an_endless_small_answer_is_stopped(method: str) -> None:
    def handler(_: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
        yield from itertools.repeat(b"x" * 0x10000, 100_000)

    calls: dict[str, Callable[[RegistryClient], object]] = {
        "catalog": lambda client: list(client.catalog()),
        "ping": lambda client: client.ping(),
        "manifest": lambda client: client.get_manifest("a", "1"),
    }
    error = refused(UnexpectedAnswer, handler, calls[method])
    assert "bytes long" in (error.cause or "")


def test_an_endless_error_is_cut_and_said() -> None:
    def handler(_: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 404 Not Found\r\n\r\n"
        yield from itertools.repeat(b"x" * 0x10000, 100_000)

    refused(NotFound, handler, get)


def test_an_answer_in_drops_is_given_up_at_the_deadline() -> None:
    def handler(_: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        for _drop in range(200):
            yield b"x"
            time.sleep(0.05)

    started = time.monotonic()
    error = refused(AnswerCut, handler, lambda client: client.ping())
    assert error.cause == "not complete after 1 s"
    assert time.monotonic() - started < 5


def dripping(_: Request) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    for _drop in range(400):
        yield b"x"
        time.sleep(0.02)


def test_a_blob_in_drops_is_given_up_though_it_is_never_silent_for_long() -> None:
    started = time.monotonic()
    error = refused(TooSlow, dripping, get)
    assert re.fullmatch(r"\d\d bytes came in 1 s, less than 1 KiB a second", str(error.cause))
    assert 1 <= time.monotonic() - started < 4


def test_who_takes_its_time_with_what_comes_does_not_make_the_registry_slow() -> None:
    pace = Pace(10.0)
    assert all(pace.holds(1.9, 2000) for _ in range(5))
    assert not pace.holds(0.6, 0)
    pace = Pace(10.0)
    assert all(pace.holds(5.0, 6000) for _ in range(100))


@pytest.mark.parametrize("call", [get, lambda client: client.get_manifest("a", DIGEST)])
def test_a_connection_that_is_cut_in_the_middle_is_said(call: Callable[[RegistryClient], object]) -> None:
    error = refused(AnswerCut, lambda _: iter([reply(200, CONTENT[:500], length=1000)]), call)
    assert error.code == "answer-cut"


def test_a_connection_that_is_cut_before_any_answer_is_tried_again() -> None:
    sent = []

    def handler(request: Request) -> bytes | list[bytes]:
        sent.append(request)
        return [] if len(sent) < 3 else reply(200, CONTENT)

    assert len(asked(handler, get)) == 3


def test_a_server_that_never_answers_a_word_is_given_up() -> None:
    requests = []

    def handler(request: Request) -> list[bytes]:
        requests.append(request)
        return []

    assert refused(AnswerCut, handler, get).code == "answer-cut"
    assert len(requests) == 4


def test_an_upload_that_was_cut_at_its_beginning_is_begun_again() -> None:
    sent = []

    def handler(request: Request) -> bytes | list[bytes]:
        sent.append(request.method)
        if sent == ["POST"]:
            return []
        return reply(202, Location="/up/1") if request.method == "POST" else reply(201)

    asked(handler, lambda client: client.put_blob("a", CONTENT))
    assert sent == ["POST", "POST", "PUT"]


def test_what_is_no_http_is_said() -> None:
    refused(AnswerCut, lambda _: [b"220 mail.example ESMTP\r\n"], get)


def test_a_head_of_nonsense_is_said() -> None:
    refused(AnswerCut, lambda _: [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"], get)


# Headers that lie


def test_a_manifest_that_is_not_what_its_header_says_is_a_mismatch() -> None:
    refused(
        DigestMismatch,
        lambda _: reply(200, CONTENT, Docker_Content_Digest=str(Digest.of(b"other"))),
        lambda client: client.get_manifest("a", "1.0"),
    )


def test_a_manifest_that_is_not_what_was_asked_for_is_a_mismatch() -> None:
    other = b"other"
    refused(
        DigestMismatch,
        lambda _: reply(200, other, Docker_Content_Digest=str(Digest.of(other))),
        lambda client: client.get_manifest("a", DIGEST),
    )


def test_a_manifest_without_a_digest_header_has_that_of_its_bytes() -> None:
    asked(
        lambda _: reply(200, CONTENT),
        lambda client: client.get_manifest("a", "1.0").digest == DIGEST or pytest.fail("another digest"),
    )


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../etc", "md5:abc"])
def test_a_digest_header_that_is_none_is_said(digest: str) -> None:
    calls: list[tuple[int, Callable[[RegistryClient], object]]] = [
        (200, lambda client: client.get_manifest("a", "1.0")),
        (200, lambda client: client.head_manifest("a", "1.0")),
        (201, lambda client: client.put_manifest("a", "1.0", CONTENT, OCI)),
    ]
    for status, call in calls:
        answer = reply(status, Docker_Content_Digest=digest)
        error = refused(UnexpectedAnswer, functools.partial(say, answer), call)
        assert "not a digest" in (error.cause or "")


def say(answer: bytes, _: Request) -> bytes:
    return answer


BARE = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [BARE, b"HTTP/1.1 200 OK\r\nDocker-Content-Digest: " + str(Digest.of(b"{}")).encode() + b"\r\n\r\n"],
)
def test_a_manifest_whose_head_does_not_say_what_it_should_is_fetched(head: bytes) -> None:
    """registry.redhat.io gives no digest (regclient#363), and proxies take lengths away."""

    def handler(request: Request) -> bytes | list[bytes]:
        return [head] if request.method == "HEAD" else reply(200, b"{}", Content_Type=OCI)

    seen: list[object] = []
    asked(handler, lambda client: seen.append(client.head_manifest("a", "1.0")))
    assert seen == [Descriptor(OCI, Digest.of(b"{}"), 2)]


def test_a_web_server_that_says_yes_to_everything_has_no_manifest() -> None:
    page = reply(200, b"<html>", Content_Type="text/html")
    error = refused(UnexpectedAnswer, lambda _: page, lambda client: client.head_manifest("a", "1.0"))
    assert error.cause == "no JSON"


def test_a_blob_is_there_whether_its_head_says_its_length_or_not() -> None:
    asked(lambda _: [BARE], lambda client: client.has_blob("a", DIGEST) or pytest.fail("it is there"))
    error = refused(UnexpectedAnswer, lambda _: [BARE], lambda client: client.head_blob("a", DIGEST))
    assert error.cause == "no Content-Length header"


def test_a_registry_that_stores_something_else_is_found_out() -> None:
    other = str(Digest.of(b"other"))

    def handler(request: Request) -> bytes:
        if request.method == "POST":
            return reply(202, Location="/upload")
        return reply(201, Docker_Content_Digest=other)

    refused(DigestMismatch, handler, lambda client: client.put_blob("a", CONTENT))
    refused(DigestMismatch, handler, lambda client: client.put_manifest("a", "1", CONTENT, OCI))


def test_another_algorithm_in_the_answer_is_no_mismatch() -> None:
    wanted = Digest.of(CONTENT, "sha512")
    asked(
        lambda _: reply(201, Docker_Content_Digest=str(DIGEST)),
        lambda client: client.put_manifest("a", wanted, CONTENT, OCI),
    )


def test_an_upload_without_location_is_said() -> None:
    error = refused(UnexpectedAnswer, lambda _: reply(202), lambda client: client.put_blob("a", b""))
    assert error.cause == "no Location header"


@pytest.mark.parametrize(
    "location", ["ftp://elsewhere/x", "file:///etc/passwd", "http://[", "http://x:99999/"]
)
def test_a_location_that_is_no_web_address_is_said(location: str) -> None:
    refused(
        UnexpectedAnswer, lambda _: reply(202, Location=location), lambda client: client.put_blob("a", b"")
    )
    refused(UnexpectedAnswer, lambda _: reply(307, Location=location), get)


def test_a_location_keeps_its_query() -> None:
    def handler(request: Request) -> bytes:
        if request.method == "POST":
            return reply(202, Location="/v2/a/blobs/uploads/1?_state=x%3D")
        return reply(201)

    _, put = asked(handler, lambda client: client.put_blob("a", CONTENT))
    assert put.target == f"/v2/a/blobs/uploads/1?_state=x%3D&digest={str(DIGEST).replace(':', '%3A')}"
    assert put.body == CONTENT


# Redirects and credentials


def closed(request: Request) -> bytes | None:
    """Ask for a password where there is none."""
    return None if "authorization" in request.headers else reply(401, WWW_Authenticate=BASIC)


def test_a_redirect_is_followed_and_the_password_stays_at_home() -> None:
    with Liar(lambda _: reply(200, CONTENT)) as elsewhere:
        home = asked(
            lambda request: closed(request) or reply(307, Location=f"{elsewhere.url}/data?token=1"),
            get,
            credentials=ALICE,
        )
    assert "authorization" in home[-1].headers
    (there,) = elsewhere.requests
    assert there.target == "/data?token=1"
    assert "authorization" not in there.headers


def test_another_host_that_asks_for_the_password_does_not_get_it() -> None:
    with Liar(lambda _: reply(401, WWW_Authenticate=BASIC)) as elsewhere, pytest.raises(Unauthorized):
        asked(
            lambda request: closed(request) or reply(302, Location=elsewhere.url),
            get,
            credentials=ALICE,
        )
    assert [request.headers.get("authorization") for request in elsewhere.requests] == [None]


def test_an_upload_elsewhere_is_sent_without_the_password() -> None:
    with Liar(lambda _: reply(201)) as elsewhere:
        asked(
            lambda request: closed(request) or reply(202, Location=f"{elsewhere.url}/put"),
            lambda client: client.put_blob("a", CONTENT),
            credentials=ALICE,
        )
    (there,) = elsewhere.requests
    assert there.body == CONTENT
    assert "authorization" not in there.headers


def test_a_redirect_to_the_same_host_keeps_the_password() -> None:
    def handler(request: Request) -> bytes:
        if request.target.startswith("/v2/"):
            return closed(request) or reply(302, Location="/elsewhere")
        return closed(request) or reply(200, CONTENT)

    assert asked(handler, get, credentials=ALICE)[-1].target == "/elsewhere"


def test_a_redirect_loop_ends() -> None:
    error = refused(UnexpectedAnswer, lambda request: reply(301, Location=request.target), get)
    assert error.cause == "more than 5 redirects"


def test_a_put_is_not_redirected() -> None:
    requests: list[Request] = []

    def handler(request: Request) -> bytes:
        requests.append(request)
        return reply(307, Location="/elsewhere")

    refused(UnexpectedAnswer, handler, lambda client: client.put_manifest("a", "1", CONTENT, OCI))
    assert len(requests) == 1


def test_the_password_is_sent_once_and_not_again_when_it_is_refused() -> None:
    requests: list[Request] = []

    def handler(request: Request) -> bytes:
        requests.append(request)
        return reply(401, WWW_Authenticate=BASIC)

    with pytest.raises(Unauthorized, match="refuses 'alice'"):
        asked(handler, get, credentials=ALICE)
    assert [("authorization" in request.headers) for request in requests] == [False, True]


# Patience


def test_429_is_waited_for_as_long_as_it_says() -> None:
    sent = []

    def handler(request: Request) -> bytes:
        sent.append(time.monotonic())
        return reply(429, Retry_After="1") if len(sent) == 1 else reply(202, Location="/u")

    asked(handler, lambda client: client.mount_blob("a", DIGEST, "b"))
    assert sent[1] - sent[0] >= 1


def test_429_until_a_date_is_waited_for() -> None:
    sent = []

    def handler(_: Request) -> bytes:
        sent.append(time.monotonic())
        then = formatdate(time.time() + 2, usegmt=True)
        return reply(429, Retry_After=then) if len(sent) == 1 else reply(200, CONTENT)

    asked(handler, get, patience=5)
    assert sent[1] - sent[0] >= 0.9  # the date has whole seconds


def test_a_wait_beyond_patience_is_an_error_at_once() -> None:
    started = time.monotonic()
    error = refused(TooManyRequests, lambda _: reply(429, Retry_After="3600"), get)
    assert time.monotonic() - started < 3
    assert error.cause == "it answered 429, Retry-After: 3600"


def test_429_without_end_is_an_error_after_four_tries() -> None:
    requests = []

    def handler(request: Request) -> bytes:
        requests.append(request)
        return reply(429, Retry_After="nonsense")

    assert refused(TooManyRequests, handler, get).cause == "it answered 429, Retry-After: nonsense"
    assert len(requests) == 4


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_5xx_is_tried_again(status: int) -> None:
    sent = []

    def handler(_: Request) -> bytes:
        sent.append(status)
        return reply(status) if len(sent) < 3 else reply(200, CONTENT)

    assert len(asked(handler, get)) == 3


def test_5xx_without_end_is_said_with_what_it_says() -> None:
    body = json.dumps({"errors": [{"code": "UNAVAILABLE", "message": "disk full"}]}).encode()
    error = refused(UnexpectedAnswer, lambda _: reply(503, body), get)
    assert error.cause == "status 503: UNAVAILABLE disk full"


@pytest.mark.parametrize("status", [500, 503])
def test_an_upload_that_can_not_be_begun_is_tried_again_and_given_up(status: int) -> None:
    requests = []

    def handler(request: Request) -> bytes:
        requests.append(request)
        return reply(status)

    refused(UnexpectedAnswer, handler, lambda client: client.put_blob("a", CONTENT))
    assert [request.method for request in requests] == ["POST"] * 4


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_mount_that_is_refused_is_an_upload(status: int) -> None:
    """Who may push may not be allowed to read where the file says it came from (buildkit#2454)."""
    with Liar(lambda _: reply(status)) as server, RegistryClient(Endpoint(server.url)) as client:
        assert not client.mount_blob("a", DIGEST, "others/b")


def test_a_blob_that_is_too_large_for_the_proxy_says_so() -> None:
    """nginx takes a megabyte, if nobody says more."""
    page = reply(413, b"<html>413 Request Entity Too Large", Content_Type="text/html")

    def handler(request: Request) -> bytes:
        return reply(202, Location="/up/1") if request.method in {"POST", "DELETE"} else page

    error = refused(TooLarge, handler, lambda client: client.put_blob("a", CONTENT))
    assert "client_max_body_size 0;" in (error.fix or "")


def test_a_chunk_is_not_sent_twice() -> None:
    requests = []

    def handler(request: Request) -> bytes:
        requests.append(request.method)
        return reply(202, Location="/up/1") if request.method in {"POST", "DELETE"} else reply(503)

    refused(UnexpectedAnswer, handler, lambda client: client.put_blob_chunks("a", [CONTENT]))
    assert requests == ["POST", "PATCH", "DELETE"]


# Lists


def test_pages_are_followed_by_link() -> None:
    pages = {
        "/v2/a/tags/list?n=1000": (["1"], '</v2/a/tags/list?n=1&last=1>; rel="next"'),
        "/v2/a/tags/list?n=1&last=1": (["2", "3"], "<list?last=3>; foo=bar; rel=next"),
        "/v2/a/tags/list?last=3": (None, '</x>; rel="prev"'),
    }

    def handler(request: Request) -> bytes:
        tags, link = pages[request.target]
        return reply_json({"name": "a", "tags": tags}, Link=link)

    seen: list[str] = []
    requests = asked(handler, lambda client: seen.extend(client.tags("a")))
    assert seen == ["1", "2", "3"]
    assert [request.target for request in requests] == list(pages)


@pytest.mark.slow
def test_pages_without_end_end() -> None:
    numbers = itertools.count()

    def handler(_: Request) -> bytes:
        return reply_json({"tags": []}, Link=f'</v2/a/tags/list?last={next(numbers)}>; rel="next"')

    error = refused(UnexpectedAnswer, handler, lambda client: list(client.tags("a")))
    assert error.cause == "more than 10000 pages"


@pytest.mark.parametrize(
    ("header", "following"),
    [
        ("", None),
        ("nonsense", None),
        ('</a>; rel="prev"', None),
        ('</a>; rel="nextish"', None),
        ('</a>; title="rel=next"', None),
        ('</a>; rel="next"', "/a"),
        ("<a>;rel=next", "a"),
        ('<?last=1,2>; rel="next"', "?last=1,2"),
        ('</a>; Rel = "Next"', "/a"),
        ('</a>; rel="prev next"', "/a"),
        ('</a>; title="x, y; z"; rel="next"', "/a"),
        ('</z>; rel="last", </a>; rel="next"', "/a"),
    ],
)
def test_the_next_page_is_the_link_that_says_so(header: str, following: str | None) -> None:
    assert next_page(header) == following


def test_pages_in_a_circle_end() -> None:
    def handler(request: Request) -> bytes:
        return reply_json({"repositories": ["a"]}, Link='</v2/_catalog?n=1000>; rel="next"')

    error = refused(UnexpectedAnswer, handler, lambda client: list(client.catalog()))
    assert error.cause == "its pages go round in a circle"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"tags": 3}', b"\xff", b"[" * 100_000])
def test_a_list_that_is_none_is_said(body: bytes) -> None:
    refused(UnexpectedAnswer, lambda _: reply(200, body), lambda client: list(client.tags("a")))


@pytest.mark.parametrize(
    "entry",
    [
        None,
        3,
        {},
        {"mediaType": "x", "digest": "nonsense", "size": 1},
        {"mediaType": "x", "digest": str(DIGEST)},
    ],
)
def test_a_referrer_that_is_none_is_said(entry: object) -> None:
    error = refused(
        UnexpectedAnswer,
        lambda _: reply_json({"manifests": [entry]}),
        lambda client: client.referrers("a", DIGEST),
    )
    assert "a bad descriptor" in (error.cause or "")


@pytest.mark.parametrize("status", [400, 404, 405, 406])
def test_a_registry_that_knows_no_referrers_is_asked_for_the_tag(status: int) -> None:
    entry = {"mediaType": OCI, "digest": str(DIGEST), "size": len(CONTENT)}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()

    def handler(request: Request) -> bytes:
        if "/referrers/" in request.path:
            assert request.headers["accept"] == OCI_INDEX
            return reply(status)
        assert request.path == f"/v2/a/manifests/sha256-{DIGEST.hex}"
        return reply(200, index, Content_Type=OCI_INDEX)

    seen: list[Descriptor] = []
    asked(handler, lambda client: seen.extend(client.referrers("a", DIGEST)))
    assert seen == [Descriptor(OCI, DIGEST, len(CONTENT))]


def test_a_registry_that_knows_no_filter_is_filtered_here() -> None:
    found = {"mediaType": OCI, "digest": str(DIGEST), "size": 1, "artifactType": "b"}
    asked(
        lambda _: reply_json({"manifests": [found]}),
        lambda client: client.referrers("a", DIGEST, "a") and pytest.fail("not filtered"),
    )


# Other servers


def test_403_is_denied() -> None:
    body = json.dumps({"errors": [{"code": "DENIED"}]}).encode()
    error = refused(Denied, lambda _: reply(403, body), get)
    assert (error.code, error.cause) == ("denied", "DENIED")


@pytest.mark.parametrize("answer", [reply(404), b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"])
def test_another_server_is_no_registry(answer: bytes) -> None:
    error = refused(NotARegistry, lambda _: answer, lambda client: client.ping())
    assert error.code == "no-registry-there"


def test_a_registry_without_the_version_header_is_one_if_it_speaks_json() -> None:
    json_answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    asked(lambda _: json_answer, lambda client: client.ping())


def test_an_odd_status_of_ping_is_said() -> None:
    assert refused(UnexpectedAnswer, lambda _: reply(418), lambda client: client.ping()).cause == "status 418"


def test_a_tls_server_that_gets_plain_http_is_recognised() -> None:
    go = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    error = refused(PlainHttp, lambda _: [go], lambda client: client.ping())
    assert error.code == "tls-expected"


def test_silence_in_the_middle_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            RegistryClient(Endpoint(url), 0.3) as client,
            pytest.raises(Unreachable, match="does not answer"),
        ):
            get(client)


def test_an_address_that_can_not_be_reached_is_said() -> None:
    # 255.255.255.255 is no host's (RFC 919): the kernel refuses to connect to it
    with (
        RegistryClient(Endpoint("http://255.255.255.255:5000"), 2) as client,
        pytest.raises(Unreachable) as caught,
    ):
        client.ping()
    assert "can't be reached" in caught.value.message
