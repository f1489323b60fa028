"""Files of an installation: those that the package ships, and those that are written from them."""
