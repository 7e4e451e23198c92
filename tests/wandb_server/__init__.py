"""A local server that speaks enough of W&B's protocol for the unmodified SDK.

    server.py     HTTP: the routes, authentication, faults on demand, counting of requests
    graphql.py    the operations of `/graphql`, one function each
    backend.py    what the service remembers: runs, sweeps, agents, and how a sweep chooses points

It listens on 127.0.0.1 only. What the real service does is taken from its documentation and from what the SDK
sends and expects; where they say nothing, the simplest behaviour is chosen.
"""

from wandb_server.server import Fault, Server

__all__ = ["Fault", "Server"]
