"""The storage contract on a file system, in the layout of distribution's filesystem driver."""
