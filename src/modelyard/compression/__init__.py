"""From a trained network to the package: export, candidates of lower precision, the choice."""
