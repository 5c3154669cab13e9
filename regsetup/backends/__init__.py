"""What runs the registry: a container on Docker, or the bundled registry as a service."""
