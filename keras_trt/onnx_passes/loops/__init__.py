"""Passes on loops and recurrent operators."""
