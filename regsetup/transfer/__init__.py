"""Images on their way: out of registries into files, out of files into registries, between registries.

OCI distribution-spec 1.1, "Pulling manifests and blobs" and "Pushing". Several blobs at once, in threads;
manifests when all that they need is there.
"""
