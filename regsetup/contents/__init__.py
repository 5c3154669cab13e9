"""What a registry holds: looked at, checked, taken out, and the disk got back."""
