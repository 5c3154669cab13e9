"""Stands in for the registry where a test is about the process around it: takes its flags, and answers."""

from __future__ import annotations

import argparse
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


class Registry(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        say(f"asked for {self.path}")


def main() -> int:
    parser = argparse.ArgumentParser()
    flags = "--bind --port --data --htpasswd --realm --cert --key --mirror-of --log-file"
    for flag in flags.split():
        parser.add_argument(flag)
    parser.add_argument("--no-auth", action="store_true")
    given = parser.parse_args()
    if (Path(given.data) / ".deaf").exists():  # the test wants a process that SIGTERM does not end
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if (Path(given.data) / ".ill").exists():  # the test wants a process that fails at once
        say("this registry is ill")
        return 3
    server = ThreadingHTTPServer((given.bind, int(given.port)), Registry)
    say(f"listening on {given.port}")
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
