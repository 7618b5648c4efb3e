"""Background work of a bus: queues, lanes, and who runs them."""
