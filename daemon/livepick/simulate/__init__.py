"""An acquisition that never ends: micrographs from physics in small, with true positions.

``species`` makes the molecules, ``field`` lays out what the beam meets, ``optics`` and
``exposure`` turn it into an image, ``delivery`` writes files the ways real software does, and
``acquisition`` keeps the pace. Nothing here is used by the service, and nothing of the service
is used here: the demo and the tests judge one with the other.
"""
