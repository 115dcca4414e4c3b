"""Passes on quantised operators: Q/DQ, and weights on the grid."""
