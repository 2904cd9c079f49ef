"""The chip and its board: ROM loader, flash, eFuses, boot chain, application, serial port."""
