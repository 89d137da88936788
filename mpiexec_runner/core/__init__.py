"""The scheduling core: a pure state machine. It knows no MPI, no clock, no disk, no log, no array."""
