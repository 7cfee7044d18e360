"""Networks for other programs: the graph, and the files that hold it."""
