"""The container behind ``plugbus.services``; nothing here is public but what that module exports.

A callable's ``parameters`` say what it wants, by the ``keys`` that annotations and names are; ``asking`` hands that
out, ``dividing`` tells services from arguments, and ``late`` fills in at each call what differs from call to call.
``registration`` enters ``providers`` into the ``container``; ``planning`` finds out what has to be built, with its
``messages`` where that cannot be, ``building`` runs the factories, and ``stores`` keep what they made. A unit of work
is one of ``units``: its sync services live on a thread of ``homes``, ``ending`` commits or rolls back, by ``closing``.
"""
