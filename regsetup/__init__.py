"""A private container registry in one command: set up, proven, kept running, taken away."""

__version__ = "0.1.0"
