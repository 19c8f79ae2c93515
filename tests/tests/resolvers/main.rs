//! The programs that stand before Usher's DNS where it is used: resolvers, forwarders and balancers, as they are, with the
//! configuration a user would write.
//!
//! A program that is not installed leaves its tests out, which they say; `USHER_NEED_RESOLVERS=1` (as in CI) makes that a
//! failure.

mod bind;
mod delegation;
mod dnsmasq;
mod dnsviz;
mod haproxy;
mod knot;
mod powerdns;
mod readme;
mod resolved;
mod unbound;
mod zone;
