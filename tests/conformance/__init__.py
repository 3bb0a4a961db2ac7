"""Our rows beside results of the module's own code."""
