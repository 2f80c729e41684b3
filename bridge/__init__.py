"""Bridge: TwelveLabs task changes, delivered to callback URLs as signed events, at least once and in order.

Read the package as the data flows: `poll` claims a due task from the `store`, `twelvelabs` fetches it, `diff` says what
changed, `events` makes the bytes, `store` commits snapshot, event and deliveries in one step; `deliver` claims a
delivery, `signature` signs it, `sender` posts it through the guarded `transport`, `schedule` decides what follows, and
`store` settles it. `jobs` wires these to RQ, `cli` to people.
"""

__version__ = "0.1.0"
