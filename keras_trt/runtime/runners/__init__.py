"""One file a runner."""
