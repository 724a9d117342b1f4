"""`plasm web`: an HTTP server that is a client of the daemon on this machine, and holds no node key (docs/http.md)."""
