"""What nobody should send, by name: the bytes, the status, and words of the message that tell the reason."""

from hostile_bodies import BATCHES, BODIES, NAMES, VALUES
from hostile_http import CONTENT_TYPES, HEADERS, HTTP, LENGTHS, MALFORMED, METHODS_AND_PATHS

TABLE = {
    f"{group}: {name}": row
    for group, rows in {
        "body": BODIES,
        "value": VALUES,
        "name": NAMES,
        "batch": BATCHES,
        "content type": CONTENT_TYPES,
        "path": METHODS_AND_PATHS,
        "HTTP": HTTP,
        "length": LENGTHS,
        "malformed": MALFORMED,
        "headers": HEADERS,
    }.items()
    for name, row in rows.items()
}
