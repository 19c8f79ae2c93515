//! DNS of the built agent: how it is carried, and what is told of its answers.

mod explain;
mod seen;
mod tcp;
