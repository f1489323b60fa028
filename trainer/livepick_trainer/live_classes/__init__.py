"""Class averages of the newest picks: a program of its own, beside training."""
