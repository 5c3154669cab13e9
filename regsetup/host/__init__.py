"""The machine: files, processes, daemon.json, the engine's service."""
