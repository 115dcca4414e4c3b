"""How far a model can be pruned while a metric stays good enough."""
