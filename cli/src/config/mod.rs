//! x
pub mod duration;
pub mod schema;
