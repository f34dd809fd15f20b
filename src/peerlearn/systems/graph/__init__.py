"""Graph mutual learning: graph networks that teach each other, on nodes and on whole graphs."""
