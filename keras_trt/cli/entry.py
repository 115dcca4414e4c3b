"""The first lines of `keras-trt`: they load nothing, so that Ctrl-C while the rest is loaded is told, too."""

import sys

from keras_trt.cli import INTERRUPTED


def entry() -> int:
    """Runs the command line of this process.

    Returns:
        The exit code, as of `main`.

    Example:
        >>> entry()  # doctest: +SKIP
        0
    """
    try:
        from keras_trt.cli.main import main

        return main()
    except KeyboardInterrupt:  # `main` tells of those that come once it runs
        sys.stderr.write("keras-trt: interrupted before anything was done\n")
        return INTERRUPTED
