"""`python -m keras_trt` is `keras-trt`."""

import sys

from keras_trt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
