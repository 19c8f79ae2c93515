//! DNS of the built agent: how it is carried (TCP, TLS, HTTPS and QUIC), and what is told of its answers.

mod clients;
mod encrypted;
mod explain;
mod kdig;
mod seen;
mod tcp;
