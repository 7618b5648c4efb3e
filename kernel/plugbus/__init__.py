"""plugbus: an event-bus middleware microkernel for Python services."""
