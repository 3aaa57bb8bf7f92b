"""What the data team sees in the lineage graph, one module a lineage group."""
