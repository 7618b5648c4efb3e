"""Events over HTTP: publish them as CloudEvents, call requests, and subscribe by server-sent events or WebSocket."""
