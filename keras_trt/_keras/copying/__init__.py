"""Copies of live models: variables are made anew, everything else is taken as it is.

No `get_config` is asked and no constructor is called, so what a constructor does (read a file, download
weights, count names up) happens once, when the user calls it. `walk` holds the method, the other modules
say how one kind of object is copied.
"""
