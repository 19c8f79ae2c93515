//! The ways DNS is carried, through the built agent: connections over TCP.

mod tcp;
