"""How subscriptions become a chain: who hears an event, in which order, and the callables that an emit runs.

Subscribing goes down through ``targets`` (what is asked for), ``register`` (what cannot work is refused) and ``book``
(all subscriptions; ``hearing`` finds those of an event and puts them in order). On the first emit of a type ``compile``
makes a chain of them: ``steps`` makes each subscriber ready with the ``policies`` that it asked for, ``watching`` adds
what looks on, and ``links`` and ``observers`` put them together, each for the loop, for a thread and for the caller.
``tables`` keeps what was compiled, and ``running`` is around it. ``units`` opens and joins units of work, ``levels``
takes back a part of one, ``sticky`` replays. When something goes wrong: ``failures`` tells of it, ``blame`` finds who
it was. ``flights`` knows which calls a reload has to wait for.
"""
