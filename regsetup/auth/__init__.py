"""Who may enter: htpasswd users and certificates."""
