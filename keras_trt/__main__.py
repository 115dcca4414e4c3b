"""`python -m keras_trt` is `keras-trt`."""

import sys

from keras_trt.cli.entry import entry

if __name__ == "__main__":
    sys.exit(entry())
