"""What this machine has: GPUs, builders of plans, and a folder to keep plans in."""
