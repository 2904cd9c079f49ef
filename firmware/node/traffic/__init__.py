"""Vehicle detectors: samples in, passages out; no I/O, bounded state, little allocation.

Times are whole milliseconds of a clock that goes forward; a step back or a long silence ends what
was going on. Lengths are millimetres, speeds mm/s, fields nanotesla. `docs/traffic.md` has the
methods and how every parameter follows from where the sensor is mounted.
"""
