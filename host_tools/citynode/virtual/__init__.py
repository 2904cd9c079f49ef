"""The virtual board: an ESP32 with its flash, its serial port and the world around it."""
