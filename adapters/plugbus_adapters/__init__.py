"""Thin edges of plugbus: in process, command line and outside systems."""
