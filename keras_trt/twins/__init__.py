"""Quantised layers: a layer's own class with quantisers inside."""
