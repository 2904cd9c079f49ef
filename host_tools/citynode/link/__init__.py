"""Ways to a board: its serial port, its bootloader through esptool, its REPL through mpremote."""
