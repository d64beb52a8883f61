//! Doors for clients: the rpc table, gRPC, and the operator's HTTP.
