"""One contestant a file: a program that does the same work in its own way and prints one JSON line.

Those that use MPI are started as ``mpiexec -n 3 python -m benchmarks.contestants.NAME TASK [NUMBER]``.
"""
