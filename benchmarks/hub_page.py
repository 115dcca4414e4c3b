"""docs/hub.md, from the results of the keras-hub sweep."""
def document(results): return ""
