"""Model bundles on disk: registry, promotion, rollback and pruning."""
