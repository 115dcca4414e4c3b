"""What quantised tensors were seen to be: histograms, and the statistics of a whole model."""
