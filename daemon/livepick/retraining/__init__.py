"""Retraining: decide when to train and on what, run the trainer, and decide on promotion."""
