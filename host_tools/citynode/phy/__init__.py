"""LoRaWAN 1.0.4 frames as gateways see them (PHYPayload), read on the host with known keys."""
