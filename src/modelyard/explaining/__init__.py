"""Why a model answered as it did: integrated gradients, in a process of its own beside serving.

It alone of what serves imports torch; a server worker starts it at the first request and talks to
it over a socket of the file system.
"""
