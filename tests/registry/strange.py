"""Manifests that Python reads without complaint and distribution, written in Go, does not, or otherwise."""

from __future__ import annotations

import json
from typing import Any

from tests.registry.harness import image, index

CONFIG, LAYER = b"{}", b"layer"
_IMAGE = image(CONFIG, (LAYER,))
_INDEX = index(_IMAGE)


def _with(content: bytes, **fields: Any) -> bytes:
    return json.dumps(json.loads(content) | fields).encode()


def _layer(**fields: Any) -> bytes:
    document = json.loads(_IMAGE)
    return _with(_IMAGE, layers=[document["layers"][0] | fields])


def _child(**fields: Any) -> bytes:
    document = json.loads(_INDEX)
    return _with(_INDEX, manifests=[document["manifests"][0] | fields])


STRANGE = {
    "not a number": _with(_IMAGE, x=float("nan")),
    "UTF-16": _IMAGE.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + _IMAGE,
    "schema version 2.0": _with(_IMAGE, schemaVersion=2.0),
    "a type in capitals": _with(_IMAGE, mediaType=json.loads(_IMAGE)["mediaType"].upper()),
    "a name twice": b'{"layers": 5, ' + _IMAGE[1:],
    "layers twice, once in capitals": _with(_IMAGE, Layers=[]),
    "a config in capitals": _with(_IMAGE, CONFIG=7),
    "layers with a long s": b'{"layer\\u017f": 5, ' + _IMAGE[1:],
    "a size above 63 bits": _layer(size=2**63),
    "a layer's name in capitals": _layer(Size=1),
    "a layer's annotation that is a number": _layer(annotations={"a": 1}),
    "URLs that are text": _layer(urls="https://example.com"),
    "a URL that is a number": _layer(urls=[1]),
    "a layer's platform that is text": _layer(platform="linux"),
    "a platform that is text": _child(platform="linux"),
    "an operating system that is a number": _child(platform={"os": 1}),
    "a platform's name in capitals": _child(platform={"OS": "linux"}),
    "features that are text": _child(platform={"os": "linux", "os.features": "win32k"}),
    "URLs of a child that are a number": _child(urls=5),
}
