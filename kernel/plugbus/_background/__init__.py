"""Background work of a bus: what is told later, in order per lane, tried again, drained; for those who have some.

An event comes in by ``handing`` (what the bus and its chains call) and ``entrance`` (whether there is room), waits as
one of the ``items`` of a ``queue``, and is delivered by the ``runner``.
"""
