"""2D classes: extract, align, classify, select, draw."""
