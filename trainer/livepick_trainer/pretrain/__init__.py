"""The general model: a network trained once on synthetic scenes of many different particles."""
