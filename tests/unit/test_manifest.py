"""What manifests refer to, whatever wrote them."""

from __future__ import annotations

import json

import pytest

from regsetup.manifest import Need, References, references
from regsetup.reference import Digest

ONE, TWO = Digest.of(b"1"), Digest.of(b"2", "sha512")
IMAGE = "application/vnd.oci.image.manifest.v1+json"


@pytest.mark.parametrize(
    ("document", "needs"),
    [
        (
            {"config": {"digest": str(ONE), "size": 3}, "layers": [{"digest": str(TWO), "size": 4}]},
            [Need(ONE, 3), Need(TWO, 4)],
        ),
        ({"layers": [5, {"digest": 7}, {"digest": "x"}, {"digest": str(ONE), "size": "big"}]}, [Need(ONE)]),
        ({"layers": [{"digest": str(ONE), "urls": ["https://e.example"]}]}, [Need(ONE, elsewhere=True)]),
        ({"schemaVersion": 1, "fsLayers": [{"blobSum": str(ONE)}]}, [Need(ONE)]),
        ({"blobs": [{"digest": str(ONE)}]}, [Need(ONE)]),
        (
            {"manifests": [{"digest": str(ONE), "mediaType": IMAGE}, {"digest": str(TWO)}], "layers": "none"},
            [Need(ONE, is_manifest=True), Need(TWO)],
        ),
        ([], []),
    ],
)
def test_needs_are_read_from_any_manifest(document: object, needs: list[Need]) -> None:
    assert references(json.dumps(document).encode()) == References(tuple(needs))


def test_the_subject_is_no_need() -> None:
    content = json.dumps({"layers": [], "subject": {"digest": str(ONE), "size": 1}}).encode()
    assert references(content) == References((), ONE)


@pytest.mark.parametrize("content", [b"not JSON", b"[" * 100_000, b"\xff", b"null"])
def test_what_is_no_manifest_refers_to_nothing(content: bytes) -> None:
    assert references(content) == References()
