"""What CloudEvents 1.0 says of an event beside its data, and how HTTP headers say it. Pure.

| attribute | what it is here |
| --- | --- |
| id | the event's own: that of `webhook-id`, the same on each attempt and replay |
| source | whose news it is: TwelveLabs', or this bridge's own where it tells of an endpoint |
| type | the event's type; what is TwelveLabs' own under its name, as the spec's adapters name GitHub's |
| subject | the task as it was registered, or the endpoint |
| time | when it was observed |
| revision | an extension, of tasks only: apply the highest. A text, as an Integer of CloudEvents has 32 bits |

None depends on a setting: source and id together must be the same whenever, and by whomever, an event is sent again.
Source: github.com/cloudevents/spec v1.0.2, spec.md and bindings/http-protocol-binding.md, section 3.1.3.2.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

CONTENT_TYPE = "application/cloudevents+json"
"""Of the structured mode, whose body holds all."""
DATA_CONTENT_TYPE = "application/json"

OWN_TYPES = "bridge."
"""How a type begins that TwelveLabs has no part in. The bridge has no DNS name to stand before it."""
TYPE_PREFIX = "io.twelvelabs."
SOURCE = "https://api.twelvelabs.io"
OWN_SOURCE = "/bridge/endpoints"
"""A reference without a host, which may be any."""

_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def attributes(event_id: str, event: Mapping[str, Any]) -> dict[str, str]:
    """The attributes of a stored event. Raises LookupError and the like for what is no event."""
    kind, data = event["type"], event["data"]
    ours = kind.startswith(OWN_TYPES)
    found = {
        "specversion": "1.0",
        "id": event_id,
        "source": OWN_SOURCE if ours else SOURCE,
        "type": kind if ours else TYPE_PREFIX + kind,
        "subject": data["endpoint" if ours else "task_id"],
        "time": event["timestamp"],
        "datacontenttype": DATA_CONTENT_TYPE,
    }
    return found if ours else found | {"revision": str(data["revision"])}


def headers(found: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The attributes as headers of the binary mode, but for the content type, which is HTTP's own."""
    return tuple(
        (f"ce-{name}", quote(value, safe=_PLAIN)) for name, value in found.items() if name != "datacontenttype"
    )
