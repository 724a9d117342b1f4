"""A laboratory of network namespaces on this machine: an internet, routers that do NAT, and nodes behind them."""
