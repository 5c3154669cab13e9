"""``render``: what ``up`` does, as files for compose, quadlet, systemd and Kubernetes.

Everything comes from what ``up`` itself uses: ``backends.container`` for the container, ``backends.unit`` for
the service, the registry's own files for users and certificates. Nothing here is started.
"""
