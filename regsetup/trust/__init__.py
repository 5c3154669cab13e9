"""How each client on a machine is made to trust the registry; one module per client."""
