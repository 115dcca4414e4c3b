"""One fusion a file: the pattern, the rewrite and why it is exact."""
