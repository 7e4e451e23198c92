"""A local server that speaks enough of W&B's protocol for the unmodified SDK.

    server.py     HTTP: the routes, authentication, faults on demand, counting of requests
    schema.graphql  what `/graphql` is asked and answers, with W&B's own nullability
    graphql.py      the fields of queries and mutations; requests and answers are held against the schema
    backend.py      what the service remembers: runs, sweeps, agents, and how a sweep chooses points

It listens on 127.0.0.1 only. What the real service does is taken from its documentation, its issue threads,
and what the SDK sends and expects; what nobody outside W&B knows is a switch (`Unknown`).
"""

from wandb_server.backend import Unknown
from wandb_server.server import Fault, Server

__all__ = ["Fault", "Server", "Unknown"]
