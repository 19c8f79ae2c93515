//! Members of a pool together: over real sockets, and many machines in virtual time.

mod real;
mod together;
mod world;
