"""Several models as one: equal beginnings computed once, outputs side by side or combined."""
