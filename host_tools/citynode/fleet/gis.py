"""Where nodes are, for a GIS: WGS84 degrees (EPSG:4326), as CSV or GeoJSON (RFC 7946)."""

import csv
import io
import json
from collections.abc import Iterable

from citynode.fleet.node import Node

_PROPERTIES = ("node_id", "site", "batch", "board", "mac", "dev_eui", "firmware", "notes")


def located(nodes: Iterable[Node]) -> list[Node]:
    """Return the nodes that have a place."""
    return [node for node in nodes if node.entry.lat is not None and node.entry.lon is not None]


def as_csv(nodes: Iterable[Node]) -> bytes:
    """Return a CSV with columns `lon` and `lat`, which QGIS and others take as x and y."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(("lon", "lat", *_PROPERTIES, "status"))
    for node in nodes:
        properties = (getattr(node.entry, key) or "" for key in _PROPERTIES)
        rows.writerow((node.entry.lon, node.entry.lat, *properties, node.status))
    return file.getvalue().encode()


def as_geojson(nodes: Iterable[Node]) -> bytes:
    """Return a FeatureCollection, a feature a line; longitude comes first (RFC 7946, 3.1.1)."""
    features = ",\n".join(
        json.dumps(
            {
                "type": "Feature",
                "id": node.node_id,
                "geometry": {"type": "Point", "coordinates": [node.entry.lon, node.entry.lat]},
                "properties": {
                    **{key: getattr(node.entry, key) for key in _PROPERTIES},
                    "status": node.status,
                },
            },
            ensure_ascii=False,
        )
        for node in nodes
    )
    return f'{{"type": "FeatureCollection", "features": [\n{features}\n]}}\n'.encode()
