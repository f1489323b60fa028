"""The trainer: a program that starts, learns, leaves a model bundle, and ends."""
