"""What is installed on this machine, and what would run bundles here."""
