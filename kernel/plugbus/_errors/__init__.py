"""The error classes, by who raises them; ``plugbus.errors`` is the one place to import them from."""
