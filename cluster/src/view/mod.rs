//! Views: the parts of the catalog an agent that is no server keeps, because somebody asked for them.
//!
//! ```text
//!   server:  catalog ─► watch ─► Update, pushed to every agent that subscribed          (`pushed`)
//!   client:  first question ─► Views::want ─► subscription ─► Update ─► the client's own (partial) Catalog
//!            later questions ─────────────────────────────────────────► answered from there, no call
//! ```
//!
//! - `pushed`: the server's side.
//! - `views`: the client's side: which interests are followed, since when, and for whom. `following`: one of them.
//! - `servers`: whom to ask; `upstream`: the way there. Both are traits, so that this knows nothing of how calls travel.

mod following;
mod pushed;
pub(crate) mod servers;
#[cfg(test)]
mod tests;
mod upstream;
mod views;

use serde::{Deserialize, Serialize};

pub(crate) use self::pushed::{Feed, look};
pub use self::views::Views;
pub use crate::catalog::{Content, Interest};

/// The whole of one interest at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Of what.
    pub interest: Interest,
    /// The last entry the server had applied when it looked.
    pub as_of: u64,
    /// What there was.
    pub content: Content,
}
