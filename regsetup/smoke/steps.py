"""The steps of the proof, each a few calls of the registry's API.

A tiny image goes in and comes out, every digest verified; nobody and the wrong password stay outside; nothing
is left.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from regsetup.client import Credentials, NotFound, RegistryClient, Unauthorized, Unsupported
from regsetup.errors import RegsetupError
from regsetup.reference import Digest
from regsetup.secret import Secret
from regsetup.smoke.image import MANIFEST_TYPE, TinyImage, make_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regsetup.client import Endpoint

    Cleanup = Callable[[str, tuple[Digest, ...]], None]

_TAG = "check"
_HELD = 3  # exit status of a check that did not hold


class OpenRegistry(RegsetupError):
    """Everybody may enter a registry that should have users."""

    code = "registry-open"
    exit_code = _HELD

    def __init__(self, address: str, how: str, status: int) -> None:
        super().__init__(
            f"{address} lets everybody in",
            cause=f"GET /v2/ {how} answers {status}, not 401",
            fix="regsetup up --user NAME",
        )


class ProofFailed(RegsetupError):
    """The registry answers, and not what it should."""

    code = "proof-failed"
    exit_code = _HELD

    def __init__(self, address: str, what: str) -> None:
        super().__init__(f"{address} {what}", fix="look at the registry's log: regsetup logs")


class Proof:
    """The steps, and what they have put into the registry so far."""

    def __init__(self, endpoint: Endpoint, timeout: float, cleanup: Cleanup | None) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._cleanup = cleanup
        self._client = RegistryClient(endpoint, timeout)
        self._image: TinyImage = make_image()
        self._pushing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def steps(self) -> dict[str, tuple[tuple[str, ...], Callable[[], str]]]:
        """Return the checks in their order: what each builds on, and what it does."""
        return {
            "api-version": ((), self._api_version),
            "anonymous-refused": (("api-version",), self._anonymous_refused),
            "wrong-password-refused": (("api-version",), self._wrong_password_refused),
            "login": (("api-version",), self._login),
            "push": (("api-version", "login"), self._push),
            "head": (("push",), self._head),
            "pull-by-tag": (("push",), lambda: self._pull(_TAG)),
            "pull-by-digest": (("push",), lambda: self._pull(self._image.digest)),
            "delete": (("push",), self._delete),
            "nothing-left": (("api-version", "login"), self.nothing_left),
        }

    def _deletions(self) -> list[tuple[Digest, Callable[[str, Digest], None]]]:
        """The manifest first, so that at no time it points at nothing."""
        manifest, *blobs = self._image.digests
        return [
            (manifest, self._client.delete_manifest),
            *((blob, self._client.delete_blob) for blob in blobs),
        ]

    def _ping(self, credentials: Credentials | None) -> tuple[int, Mapping[str, str]]:
        with RegistryClient(replace(self._endpoint, credentials=credentials), self._timeout) as client:
            answer = client.ping()
        return answer.status, answer.headers

    def _api_version(self) -> str:
        _, headers = self._ping(None)
        version = headers.get("Docker-Distribution-Api-Version")
        if version != "registry/2.0":
            raise self._failed(f"says API version {version!r}, not 'registry/2.0'")
        return version

    def _anonymous_refused(self) -> str:
        status, _ = self._ping(None)
        if status != 401:
            raise OpenRegistry(self._endpoint.address, "without a password", status)
        return "401 without a password"

    def _wrong_password_refused(self) -> str:
        user = self._endpoint.credentials.user if self._endpoint.credentials else "regsetup-check"
        status, _ = self._ping(Credentials(user, Secret(secrets.token_urlsafe(18))))
        if status != 401:
            raise OpenRegistry(self._endpoint.address, "with a wrong password", status)
        return "401 with a wrong password"

    def _login(self) -> str:
        credentials = self._endpoint.credentials
        status, _ = self._ping(credentials)
        if status != 200:
            user = credentials.user if credentials else None
            raise Unauthorized(self._endpoint.address, user, f"it answers {status}")
        return f"200 as {credentials.user}" if credentials else "200"

    def _push(self) -> str:
        repository, image = self._image.repository, self._image
        for blob in image.blobs:
            if self._client.head_blob(repository, Digest.of(blob)) is not None:
                raise self._failed(f"has a blob that never was pushed, {Digest.of(blob)}")
        self._pushing = True
        self._client.put_blob(repository, image.config)
        half = len(image.layer) // 2
        self._client.put_blob_chunks(repository, [image.layer[:half], image.layer[half:]])
        self._client.put_manifest(repository, _TAG, image.manifest, MANIFEST_TYPE)
        return f"{repository}:{_TAG}, {sum(map(len, image.blobs)) + len(image.manifest)} bytes"

    def _head(self) -> str:
        repository, image = self._image.repository, self._image
        seen = self._client.head_manifest(repository, _TAG)
        if seen is None or (seen.digest, seen.size) != (image.digest, len(image.manifest)):
            raise self._failed(f"shows another manifest than was pushed: {seen}")
        for blob in image.blobs:
            if self._client.head_blob(repository, Digest.of(blob)) != len(blob):
                raise self._failed(f"shows another size than was pushed for {Digest.of(blob)}")
        return str(image.digest)

    def _pull(self, reference: str | Digest) -> str:
        repository, image = self._image.repository, self._image
        manifest = self._client.get_manifest(repository, reference)
        if (manifest.content, manifest.media_type) != (image.manifest, MANIFEST_TYPE):
            raise self._failed(f"gives another manifest than was pushed for {reference}")
        for blob in image.blobs:
            for _ in self._client.get_blob(repository, Digest.of(blob), limit=len(blob)):
                pass  # the client verifies the digest
        return f"{1 + len(image.blobs)} digests verified"

    def _delete(self) -> str:
        repository = self._image.repository
        for digest, delete in self._deletions():
            delete(repository, digest)
        manifests = [self._client.head_manifest(repository, one) for one in (_TAG, self._image.digest)]
        blobs = [self._client.head_blob(repository, Digest.of(blob)) for blob in self._image.blobs]
        if any(one is not None for one in (*manifests, *blobs)):
            raise self._failed("still serves what was deleted")
        return "manifest, config and layer"

    def nothing_left(self) -> str:
        """Take back whatever is still there and see that it is gone; nothing, where nothing was pushed."""
        repository = self._image.repository
        if not self._pushing:
            return "nothing was pushed"
        for digest, delete in self._deletions():
            with suppress(NotFound, Unsupported):
                delete(repository, digest)
        if self._cleanup:
            self._cleanup(repository, self._image.digests)
        try:
            tags = list(self._client.tags(repository))
        except NotFound:
            return f"no {repository} in the catalog"
        if tags or self._cleanup:
            raise self._failed(f"still lists {repository}")
        return f"no tag of {repository}; its name may stay in the catalog, storage is not on this machine"

    def _failed(self, what: str) -> ProofFailed:
        return ProofFailed(self._endpoint.address, what)
