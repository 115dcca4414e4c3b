"""One file a subcommand: `SUMMARY`, `EXAMPLE`, `add_arguments(parser)` and `run(options)`."""
