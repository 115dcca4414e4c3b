"""What rounding costs: at the outputs, and layer by layer."""
