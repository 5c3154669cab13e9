"""The bundled registry: OCI distribution on the file layout of distribution's filesystem driver."""
