"""The command `keras-trt`: one file in `commands` for each subcommand, each around one public function."""

COMMANDS = (
    "export",
    "plan",
    "inspect",
    "verify",
    "benchmark",
    "build",
    "report",
    "serve",
    "triton",
    "doctor",
    "completion",
)
"""The subcommands, each a module of that name in `keras_trt.cli.commands`, in the order of `--help`."""

INTERRUPTED = 130
"""The exit code after Ctrl-C."""
