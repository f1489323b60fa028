"""Class averages of the newest picks: when they are due, of which picks, and their making."""
