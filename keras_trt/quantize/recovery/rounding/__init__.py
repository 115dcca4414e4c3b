"""Rounds each weight up or down by what its layer returns, not to the nearest."""
