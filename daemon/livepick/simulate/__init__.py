"""An acquisition in miniature: micrographs by physics, with true positions."""
