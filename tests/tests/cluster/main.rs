//! Clusters of the built binary: forming, losing and getting back servers, client agents, keys, and an operator's work.
//!
//! Every test starts its own agents on loopback addresses of its own; `faults` needs network namespaces and says so where
//! there are none. `USHER_BIN` may name another implementation; what only this product promises is then left out.

mod clients;
mod faults;
mod forming;
mod keys;
mod members;
mod refusing;
mod restarts;
mod servers;
