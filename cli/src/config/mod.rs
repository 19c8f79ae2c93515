//! x
pub mod duration;
pub mod hcl;
pub mod schema;
