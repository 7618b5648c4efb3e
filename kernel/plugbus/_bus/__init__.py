"""The parts of the event bus's public face."""
