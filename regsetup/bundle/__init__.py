"""All that a machine without a network needs, in one tar: image, wheels, an installer, checksums."""
