"""Model bundles on disk: registry, promotion, rollback, pruning."""
