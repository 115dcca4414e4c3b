"""From a finished graph to the files of a bundle."""
