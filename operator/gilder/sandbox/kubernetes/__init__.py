"""A Kubernetes API in this process (or a real one, where its binaries are)."""
