"""What pruning each layer costs, measured."""
