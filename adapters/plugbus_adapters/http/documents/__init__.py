"""Documents that tell a program what an app has to offer; none of them needs a web framework."""
