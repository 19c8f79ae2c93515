//! Health: every kind of check against something real that passes, fails and recovers, and what follows from results in
//! DNS and the API. `USHER_BIN` may name another implementation; what only this product promises is then left out.

mod alias;
mod checks;
mod http;
mod judging;
mod kinds;
mod lack;
mod leases;
mod maintenance;
mod reload;
mod restarts;
mod scripts;
mod servers;
mod ttl;
