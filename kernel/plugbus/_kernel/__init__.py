"""How the kernel finds, orders, boots and stops plugins; ``plugbus.kernel`` is the way in."""
