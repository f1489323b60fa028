"""Notices: short messages about events of the session, sent by mail, chat or webhook."""
