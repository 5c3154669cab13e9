"""daemon.json as somebody may have typed it: texts for property tests."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from regsetup.host.daemon_json import INSECURE, MIRRORS

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
registries = st.lists(st.sampled_from(["a.lan", "b.lan:5000", "10.0.0.0/8"]), unique=True, max_size=3)
documents = st.builds(
    lambda rest, insecure, mirrors, first: {
        **({INSECURE: insecure} if insecure is not None and first else {}),
        **{key: value for key, value in rest.items() if key not in (INSECURE, MIRRORS)},
        **({INSECURE: insecure} if insecure is not None and not first else {}),
        **({MIRRORS: mirrors} if mirrors is not None else {}),
    },
    st.dictionaries(
        st.sampled_from(["log-driver", "data-root", "hosts", "a,b", 'q"q', "é"]), values, max_size=3
    ),
    st.none() | registries,
    st.none() | registries,
    st.booleans(),
)
ODD = [  # keys twice, escapes, no line end, a list of the same name deeper down
    '{"debug": true, "debug": false, "insecure-registries": ["a.lan"]}',
    '{"registry-mirrors": ["https://a"], "registry-mirrors": ["https://b"]}',
    '{"insecure\\u002dregistries": ["\\u0061.lan"],\r\n"x": "\\ud83d\\ude00\\/"}',
    '\t{"default-address-pools":[{"base":"10.0.0.0/8","insecure-registries":["q"]}]}',
    '{"log-opts": {"max-size": "10m"},\r\n\t"insecure-registries": [\r\n\t\t"b.lan:5000"\r\n\t]}\r\n\r\n',
]
blank = st.text(alphabet=" \t\r\n", max_size=3)


@st.composite
def texts(draw: st.DrawFn) -> str | None:
    """A daemon.json as somebody may have typed it; None where there is no file."""
    if draw(st.integers(0, 9)) == 0:
        return None
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(ODD))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(["", "\n", "{}", "{ }", "{\n}\n", ' {"insecure-registries": null}']))
    document = draw(documents)
    text = json.dumps(
        document,
        indent=draw(st.sampled_from([None, 0, 1, 2, 4, "\t"])),
        separators=draw(st.sampled_from([None, (",", ":"), (" , ", " : ")])),
        ensure_ascii=draw(st.booleans()),
    )
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(blank) + text + draw(blank)
