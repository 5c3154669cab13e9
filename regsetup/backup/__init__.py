"""Backup and restore: a registry's data, users, certificates and settings as one file or a growing directory.

``survey`` reads a consistent picture of the data beside a registry that serves, ``archive`` writes it and
``reading`` checks it again, ``repository`` keeps several in one directory, ``restore`` brings one back.
"""
