"""Takes back, without training, what rounding costs on average."""
