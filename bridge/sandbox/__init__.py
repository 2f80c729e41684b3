"""The embedded default: a throw-away Redis, a simulated TwelveLabs and a receiver, for demo, dev and tests.

`redis` starts a server that dies with its parent; `twelvelabs` answers as the real API does, from scripted
timelines and faults; `receiver` verifies and records what the bridge posts. Both speak through `http`, and
`thread` runs them beside synchronous code. Nothing here belongs in production.
"""
