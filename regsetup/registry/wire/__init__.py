"""HTTP/1.1 over one connection, as a registry needs it and no more."""
