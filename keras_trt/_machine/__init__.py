"""This machine and this process: packages, files, locks, memory, and what all threads share."""
