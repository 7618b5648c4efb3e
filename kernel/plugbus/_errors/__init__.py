"""The error classes, by who raises them; ``plugbus.errors`` is the one place to import them from.

``base`` has what all can do. Those of the bus are in ``registering``, ``running`` and ``background``, those of the
kernel in ``plugins`` and ``settings``, and those of business code in ``refusals``.
"""
