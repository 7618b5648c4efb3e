"""What a kernel does with plugins, from what it was given to the last one that leaves; imported when one is made.

``life`` enters and leaves, and ``runtime`` has everything in between. A start: ``config`` is read, ``discovery`` (with
``folders``) says where plugins come from, ``loading`` imports them, ``definition`` reads what each declares, ``unit``
is a plugin from then on, and ``preparing`` makes all ready: ``resolve`` finds who needs whom, ``wiring`` checks
services, ``permitting`` what each may, ``marking`` who reads which marks. Then ``fleet`` moves all on together, in the
order of ``schedule``; ``assemble`` boots each, through ``intercepting`` for those who listen to boots, by the calls of
``steps`` and with ``hooks`` of pluggy. Settings are merged in ``settings`` out of ``sources``, without the secrets that
``hiding`` hides. Changes while it runs come in by ``control``: ``reloading`` and ``reconfiguring`` are the long ones.
``check`` finds what is wrong (and ``near_misses`` what is misspelt), ``checkup`` asks for health.
"""
