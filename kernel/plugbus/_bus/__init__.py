"""The public face of the event bus, in two halves: ``subscribing``, and ``managing`` for kernels and operators.

Both stand on ``state``; emitting itself is in ``plugbus/bus.py``, and what all views share in ``plugbus/_core.py``.
"""
