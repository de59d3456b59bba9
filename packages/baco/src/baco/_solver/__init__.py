"""The engine behind `baco.BACO`: weights, sweeps, budget search, and their slow reference."""
