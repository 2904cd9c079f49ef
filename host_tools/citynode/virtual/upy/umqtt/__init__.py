"""`umqtt`: clients of an MQTT broker."""
