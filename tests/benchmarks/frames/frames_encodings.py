"""What others make of the same records: each by its own library, with all that our frames hold.

A record is `(seq, t, status, values)`, several of them are the same an interval apart. Scales and
offsets are those of our schema, except where the encoding has its own.
"""

import json
from itertools import pairwise

import cbor2
import msgpack
from cayennelpp import LppFrame
from citynode.frames import FIELDS
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from kpn_senml import SenmlPack, SenmlRecord

SENML_UNITS = {"°C": "Cel", "%": "%RH", "Pa": "Pa", "V": "V", "s": "s", "ppm": "ppm"}


def sampled(kind, values):
    """Return the fields that the records of a month have."""
    return [field for field in FIELDS[kind] if field.name in values]


def raws(kind, values):
    """Return the integers that our frames have."""
    return [
        round(values[field.name] * field.num / field.den) - field.zero
        for field in sampled(kind, values)
    ]


def json_text(kind, records):
    """Names and values, the common head once."""
    told = [{"seq": seq, "t": t, "status": status, **values} for seq, t, status, values in records]
    return json.dumps(told if len(told) > 1 else told[0], separators=(",", ":")).encode()


def senml_cbor(kind, records):
    """RFC 8428: a SenML record for each value; the node's name is a base name."""
    pack = SenmlPack("n1")
    seq, t, status, _ = records[0]
    pack.base_time = t
    for name, value in (("seq", seq), ("status", status)):
        pack.add(SenmlRecord(name, value=value, time=t))
    for _, t, _, values in records:
        for field in sampled(kind, values):
            unit = SENML_UNITS.get(field.unit, field.unit)
            named = {"unit": unit} if unit else {}
            value = values[field.name]
            pack.add(SenmlRecord(field.label, value=value, time=t, **named))
    return pack.to_cbor()


def msgpack_array(kind, records):
    """The array of our open frame; of several records columns of differences."""
    seq, t, status, _ = records[0]
    if len(records) == 1:
        return msgpack.packb([kind, seq, t, status, *raws(kind, records[0][3])])
    return msgpack.packb([kind, seq, t, status, records[1][1] - t, *_differences(kind, records)])


def cbor_columns(kind, records):
    """The same in CBOR: what a batch would be without bits."""
    seq, t, status, _ = records[0]
    if len(records) == 1:
        return cbor2.dumps([kind, seq, t, status, *raws(kind, records[0][3])])
    return cbor2.dumps([-1 - kind, seq, t, status, records[1][1] - t, *_differences(kind, records)])


def _differences(kind, records):
    columns = list(zip(*(raws(kind, values) for *_, values in records), strict=True))
    return [
        [column[0], *(after - before for before, after in pairwise(column))] for column in columns
    ]


def cayenne(kind, records):
    """CayenneLPP, and its later types; coarser. Several records are several payloads in one."""
    whole = b""
    for seq, t, status, values in records:
        lpp = LppFrame()
        lpp.add_unix_time(0, t)
        lpp.add_generic(1, seq)
        lpp.add_digital_input(2, status)
        for channel, field in enumerate(sampled(kind, values), 3):
            _add(lpp, channel, field, values[field.name])
        whole += bytes(lpp)
    return whole


def _add(lpp, channel, field, value):
    add = {"°C": lpp.add_temperature, "%": lpp.add_humidity, "ppm": lpp.add_luminosity}
    if field.unit == "Pa":
        lpp.add_barometer(channel, value / 100)
    elif field.unit in add:
        add[field.unit](channel, value)
    elif field.unit in ("", "s"):
        lpp.add_luminosity(channel, value)  # the one unsigned number of 16 bits
    else:
        lpp.add_analog_input(channel, value)


class Protobuf:
    """A message of scaled integers; one of packed columns of differences for several records."""

    def __init__(self, kind):
        self._kind = kind
        kinds = descriptor_pb2.FieldDescriptorProto
        file = descriptor_pb2.FileDescriptorProto(
            name=f"record{kind}.proto", package=f"k{kind}", syntax="proto3"
        )
        for name in ("Record", "Batch"):
            message = file.message_type.add(name=name)
            head = ("seq", "t", "status", "dt")[: 4 if name == "Batch" else 3]
            for number, each in enumerate(head, 1):
                message.field.add(
                    name=each, number=number, type=kinds.TYPE_UINT32, label=kinds.LABEL_OPTIONAL
                )
            for field in FIELDS[kind]:
                signed = field.low < field.zero or name == "Batch"
                message.field.add(
                    name=field.name,
                    number=len(message.field) + 1,
                    type=kinds.TYPE_SINT32 if signed else kinds.TYPE_UINT32,
                    label=kinds.LABEL_REPEATED if name == "Batch" else kinds.LABEL_OPTIONAL,
                )
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._record, self._batch = (
            message_factory.GetMessageClass(pool.FindMessageTypeByName(f"k{kind}.{name}"))
            for name in ("Record", "Batch")
        )

    def __call__(self, kind, records):
        """Return the message's bytes."""
        seq, t, status, values = records[0]
        names = [field.name for field in sampled(kind, values)]
        if len(records) == 1:
            fields = dict(zip(names, raws(kind, values), strict=True))
            return self._record(seq=seq, t=t, status=status, **fields).SerializeToString()
        fields = dict(zip(names, _differences(kind, records), strict=True))
        dt = records[1][1] - t
        return self._batch(seq=seq, t=t, status=status, dt=dt, **fields).SerializeToString()
