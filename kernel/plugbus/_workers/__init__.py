"""Subscribers that run outside of this interpreter: in worker processes of their plugin, or in subinterpreters.

``placing`` says who can be one and what the bus calls instead; a ``pool`` of each plugin hands requests to its
processes, of which ``process`` is the parent's side and ``child`` the other.
"""
