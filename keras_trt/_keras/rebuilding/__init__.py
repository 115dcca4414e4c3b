"""Models made anew: of other layers on the same graph, or of a function of their layers."""
