"""When to train and on what; runs the trainer; decides on promotion."""
