"""Bundles behind NVIDIA's Triton Inference Server."""
