"""Images as files: OCI layouts, archives of ``docker save`` and its kin, platforms, and what a manifest says.

OCI image-spec 1.1 and Docker's "Image Specification v1". Reads and writes files; speaks to no registry.
"""
