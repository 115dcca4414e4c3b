"""How fast bundles and models are here, beside each other."""
