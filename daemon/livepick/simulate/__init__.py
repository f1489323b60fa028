"""Simulated, endless acquisition: micrographs from a simple physical model, with true positions.

``species`` makes the molecules, ``field`` lays out the specimen, ``specimen_plane``, ``optics`` and
``exposure`` turn it into an image, ``delivery`` writes files in the ways real software does, and
``acquisition`` keeps the pace. The service does not use anything here, and the simulation does not
use the service: the demo and the tests check one against the other.
"""
