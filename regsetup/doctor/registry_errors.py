"""What a registry answers, as clients print it: each text with its cause and its mend.

The error table of the OCI distribution specification 1.1, what docker, podman and containerd make of it, and
what proxies before a registry say.
"""

from __future__ import annotations

from regsetup.doctor.machine_errors import Explained


class RateLimited(Explained):
    """Docker Hub, or a registry like it, counts pulls."""

    code = "rate-limited"
    marks = ("toomanyrequests", "429 Too Many Requests")
    fact = "the registry counts pulls, and this machine has had its share"
    why = "Docker Hub limits pulls without login"
    mend = "docker login, or wait; regsetup up --mirror-of URL makes a cache"


class AskedHub(Explained):
    """Docker Hub was asked instead of one's own registry."""

    code = "hub-asked"
    marks = (
        r"(registry-1|index|auth|hub)\.docker\.(io|com)",
        r"(pull|push) access denied for (docker\.io/)?[^\s.:]+(:\w+)?[ ,]",
    )
    fact = "Docker Hub was asked, and no registry of yours"
    why = "a name without HOST:PORT in front means Docker Hub, for images and for docker login"
    mend = "docker tag IMAGE HOST:PORT/NAME, then docker push HOST:PORT/NAME; docker login HOST:PORT"


class PushDenied(Explained):
    """The registry that was asked does not let this user do that."""

    code = "push-denied"
    marks = (
        "requested access to the resource is denied",
        "(pull|push) access denied(?!.*no basic auth credentials)",
        r"insufficient_scope",
        "403 Forbidden",
    )
    fact = "the registry that was asked does not let this user do that"
    why = "the name does not begin with your registry's address (Docker Hub was asked), or this user may not"
    mend = "docker tag IMAGE HOST:PORT/NAME, docker login HOST:PORT, then docker push HOST:PORT/NAME"


class NoSuchImage(Explained):
    """The registry has no such tag, digest or repository."""

    code = "image-unknown"
    marks = (
        "manifest[ _]unknown",
        r"manifest for \S+ not found",
        "name[ _]unknown",
        "repository name not known to registry",
        r"failed to resolve (reference|source metadata).*: not found",
        r"failed to solve: \S+: not found",
        r"unexpected status( code)?( from HEAD request to \S+:)? 404",  # a HEAD has no body
    )
    fact = "the registry has no such image"
    why = "name or tag are spelt otherwise, it was never pushed there, or it was removed"
    mend = "regsetup catalog; regsetup tags NAME"


class UploadLost(Explained):
    """The registry does not know the upload that the client goes on with."""

    code = "upload-lost"
    marks = ("blob[ _]upload[ _](unknown|invalid)",)
    fact = "the registry does not know this upload any more"
    why = "it was given up, the registry started anew with another secret, or two registries share one name"
    mend = "push again; regsetup logs if it goes on"


class BlobMissing(Explained):
    """A layer that the manifest names is not in the registry."""

    code = "blob-unknown"
    marks = (r"\bblob[ _]unknown", "unknown blob")
    fact = "a layer of the image is not in the registry"
    why = "it was damaged or deleted on disk, or a collection ran while somebody pushed"
    mend = "regsetup verify NAME names it; push the image again, docker push --all-tags where it still is"


class ManifestRefused(Explained):
    """The registry does not take the manifest."""

    code = "manifest-refused"
    marks = (
        "manifest[ _]invalid",
        "manifest[ _]unverified",
        r"schema 1 (support|image)",
        "manifest.v1.*prettyjws",
    )
    fact = "the manifest is of a kind that is not taken"
    why = (
        "it is no schema 2 or OCI manifest (schema 1 has had its day), or what it names was not pushed first"
    )
    mend = "build or pull the image with a client of today, and push that"


class PlatformMissing(Explained):
    """The image is there, for other platforms."""

    code = "platform-missing"
    marks = (
        "no matching manifest for",
        "no (image|match).* for platform",
        "does not match the (specified|detected)",
    )
    fact = "the image is there, but not for this platform"
    why = "it was pushed from a machine with another processor"
    mend = "regsetup inspect NAME:TAG lists its platforms; docker buildx build --platform builds others"


class Unsupported(Explained):
    """The registry is not set up for this operation."""

    code = "operation-unsupported"
    marks = ("the operation is unsupported", "405 Method Not Allowed")
    fact = "the registry is not set up for that"
    why = "registry:2 deletes nothing unless it was told so; a cache takes no pushes; a read-only one neither"
    mend = "regsetup up: deletion is on by default; regsetup status says how it runs"


class ContentDamaged(Explained):
    """What arrived is not what its digest says."""

    code = "content-damaged"
    marks = (
        "verification failed for digest",
        "unexpected commit (digest|size)",
        "(digest|checksum) (mismatch|did not match|does not match)",
        "provided digest did not match",
        "digest[ _]invalid",
    )
    fact = "content and digest do not belong together"
    why = "a damaged disk or layer, or a proxy that changes what goes through"
    mend = "regsetup verify re-hashes what is stored; push the image again"


class BodyTooLarge(Explained):
    """A proxy before the registry limits the size of uploads."""

    code = "body-too-large"
    marks = ("413 Request Entity Too Large", "HTTP 413", "status: 413", "Payload Too Large")
    fact = "the upload was refused for its size"
    why = "a proxy before the registry limits it; the registry itself limits manifests only (4 MiB)"
    mend = "nginx: client_max_body_size 0; and raise the limit of any other proxy on the way"


class RegistryFailed(Explained):
    """The registry, or a proxy before it, answered 5xx."""

    code = "registry-failed"
    marks = (
        r"(unexpected (HTTP )?status|error parsing HTTP).{0,40}\b5\d\d\b",
        r"(50[0234]) (Internal Server Error|Bad Gateway|Service Unavailable|Gateway Time-?out)",
    )
    fact = "the registry, or a proxy before it, failed"
    why = (
        "500 is the registry's own; 502 to 504 come from a proxy that does not reach it, 503 from a full disk"
    )
    mend = "regsetup status; regsetup logs"


class NotRegistry(Explained):
    """What answers at the address is no registry."""

    code = "no-registry-there"
    marks = ("error parsing HTTP \\d+ response body", "expected a JSON response, got")
    fact = "what answers at the address does not talk like a registry"
    why = "another web server or a proxy's own page; or the registry is at another port or path"
    mend = "curl -i http://HOST:PORT/v2/ shows it; regsetup status has the right address"


class ConnectionCut(Explained):
    """The connection ended in the middle."""

    code = "connection-cut"
    marks = (
        r": EOF\b",
        "unexpected EOF",
        "empty reply from server",
        "broken pipe",
        "connection closed before",
    )
    fact = "the connection ended in the middle"
    why = "the registry stopped or started anew, or a proxy, firewall or load balancer cut it"
    mend = "try again; regsetup status, regsetup logs"


class BadName(Explained):
    """The name of the image does not follow the grammar."""

    code = "bad-reference"
    marks = ("invalid reference format", "must be lowercase", "invalid repository name", "name[ _]invalid")
    fact = "the name of the image does not follow the grammar"
    why = "names are lower-case letters, digits and . _ - / with HOST:PORT in front, and a tag after a colon"
    mend = "docker tag IMAGE HOST:PORT/name:tag, without https:// and capital letters"


class ShortName(Explained):
    """podman does not guess the registry of a name without one."""

    code = "short-name"
    marks = ("did not resolve to an alias", "short-name resolution")
    fact = "podman does not know which registry is meant"
    why = "the image has a name without a registry"
    mend = "podman pull HOST:PORT/NAME"


class HandshakeFailed(Explained):
    """Client and registry have no version or cipher of TLS in common."""

    code = "tls-handshake"
    marks = (
        "tls: (handshake failure|protocol version not supported|no (supported versions|cipher suite))",
        "unsupported protocol",
        "alert (handshake failure|protocol version)",
    )
    fact = "client and registry agree on no version or cipher of TLS"
    why = "one of them is very old, or a proxy is between them"
    mend = "curl -v https://HOST:PORT/v2/ names what is offered; TLS 1.2 is the least"


class NotPermittedByCa(Explained):
    """The registry's CA may not vouch for this name."""

    code = "certificate-not-permitted"
    marks = ("is (not permitted|excluded) by (any )?constraint", "permitted subtree violation")
    fact = "the registry's CA may not vouch for this name"
    why = "a registry's CA permits only the names that it was made for"
    mend = "regsetup up --host NAME makes a new CA; then regsetup trust export for every client"


class CertificateForOthers(Explained):
    """The certificate is not one for servers."""

    code = "certificate-usage"
    marks = ("incompatible key usage", "(unsuitable|unsupported) certificate purpose")
    fact = "the certificate is not for servers"
    why = "its extended key usage has no serverAuth (RFC 5280 section 4.2.1.12)"
    mend = "request a server certificate, or: regsetup up --tls self-signed"


FIRST: tuple[type[Explained], ...] = (
    RateLimited,
    AskedHub,
    PushDenied,
    NotPermittedByCa,
    CertificateForOthers,
)
KINDS: tuple[type[Explained], ...] = (
    NoSuchImage,
    UploadLost,
    BlobMissing,
    ManifestRefused,
    PlatformMissing,
    Unsupported,
    ContentDamaged,
    BodyTooLarge,
    RegistryFailed,
    NotRegistry,
    ConnectionCut,
    BadName,
    ShortName,
    HandshakeFailed,
)
