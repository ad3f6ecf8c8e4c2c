"""Why an input changed: what carries the change, how much of now is new, which conditions and concepts moved."""
