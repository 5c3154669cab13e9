"""Counters in Prometheus' text format 0.0.4."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)  # seconds
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Metrics:
    """What happened since the start."""

    def __init__(self) -> None:
        self.sent = 0
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def count(self, method: str, kind: str, status: int, seconds: float) -> None:
        """Note an answered request."""
        self._requests[method, kind, status] += 1
        self._buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def render(self, active: int, received: int) -> bytes:
        """Return the page that Prometheus reads; ``received`` counts the bytes of blobs that came."""
        lines = [
            "# HELP registry_http_requests_total Requests answered.",
            "# TYPE registry_http_requests_total counter",
        ]
        lines += [
            f'registry_http_requests_total{{method="{method}",handler="{kind}",code="{status}"}} {count}'
            for (method, kind, status), count in sorted(self._requests.items())
        ]
        lines += [
            "# HELP registry_http_request_duration_seconds Time to the end of an answer.",
            "# TYPE registry_http_request_duration_seconds histogram",
        ]
        total = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._buckets, strict=True):
            total += count
            lines.append(f'registry_http_request_duration_seconds_bucket{{le="{bound}"}} {total}')
        lines += [
            f"registry_http_request_duration_seconds_sum {self._seconds:.6f}",
            f"registry_http_request_duration_seconds_count {total}",
            *_metric("registry_http_in_flight_requests", "gauge", "Requests being answered.", active),
            *_metric("registry_blob_sent_bytes_total", "counter", "Bytes of blobs sent.", self.sent),
            *_metric("registry_blob_received_bytes_total", "counter", "Bytes of blobs taken.", received),
            *_metric("process_resident_memory_bytes", "gauge", "Resident memory.", _resident()),
        ]
        return "\n".join([*lines, ""]).encode()


def _metric(name: str, kind: str, text: str, value: int) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value}"]


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - one line of a pseudo file
        return int(file.read().split()[1]) * _PAGE
