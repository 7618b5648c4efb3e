"""Subscribers that run outside of this interpreter: in worker processes of their plugin, or in subinterpreters."""
