"""The MAC of a LoRaWAN 1.0.4 class A end-device for EU868: bytes and times in, actions out.

Specifications are cited as TS001 (LoRaWAN L2 1.0.4), RP002 (regional parameters 1.0.4), TS009
(certification protocol 1.2) and TR007 (developing devices 1.1).
"""
