"""What models share: registry, classifier and blocks, estimators, layers in channels-last layout, checkpoints."""
