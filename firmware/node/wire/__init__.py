"""What node and host share: CBOR, frames and the table of every field on the air."""
