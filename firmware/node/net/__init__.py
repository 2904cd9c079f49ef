"""Network: the link, MQTT and the time of day; the hardware is given."""
