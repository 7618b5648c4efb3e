"""Plugins on the public API of plugbus alone."""
