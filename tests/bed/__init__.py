"""What the tests stand on: a real engine, a real registry, real clients, and nothing left behind."""
