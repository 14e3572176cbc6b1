"""Ray: the connection, the capacity of a cluster, the worker groups."""
