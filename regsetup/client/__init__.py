"""A synchronous client for the registry HTTP API (OCI distribution-spec 1.1, Docker Registry HTTP API V2).

It never shows a password, never sends one to another host than the endpoint and its token service, and trusts
nothing that a digest can check. Importing it does not import urllib3; making a client does.
"""

from regsetup.client.api import Descriptor, Manifest, RegistryClient
from regsetup.client.downloads import Begun, Passing
from regsetup.client.endpoint import BadEndpoint, Credentials, Endpoint
from regsetup.client.errors import (
    AnswerCut,
    BadAuthority,
    Denied,
    DigestMismatch,
    NotARegistry,
    NotFound,
    PlainHttp,
    RegistryError,
    TlsUntrusted,
    TooLarge,
    TooManyRequests,
    TooSlow,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
    Unsupported,
)
from regsetup.client.transport import Answer

__all__ = [
    "Answer",
    "AnswerCut",
    "BadAuthority",
    "BadEndpoint",
    "Begun",
    "Credentials",
    "Denied",
    "Descriptor",
    "DigestMismatch",
    "Endpoint",
    "Manifest",
    "NotARegistry",
    "NotFound",
    "Passing",
    "PlainHttp",
    "RegistryClient",
    "RegistryError",
    "TlsUntrusted",
    "TooLarge",
    "TooManyRequests",
    "TooSlow",
    "Unauthorized",
    "UnexpectedAnswer",
    "Unreachable",
    "Unsupported",
]
