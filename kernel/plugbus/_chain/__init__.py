"""How subscriptions become a chain: order, policies, threads, and the callables that an emit runs."""
