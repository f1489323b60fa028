"""Report for support: what is installed, configured, running and failing, as one text."""
