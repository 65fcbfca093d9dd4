"""The networks, one file a paper."""
