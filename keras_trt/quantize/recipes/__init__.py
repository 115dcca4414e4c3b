"""What was decided for each layer of a quantised model, written down and followed."""
