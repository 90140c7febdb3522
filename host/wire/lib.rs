//! What the processes of the host say to each other, and how.
//!
//! Everything travels over Unix sockets in frames: length-prefixed, bounded, versioned. A frame holds one
//! message and may carry file descriptors.
//!
//! ```text
//! frame := 'A' ‖ version:u8 ‖ descriptors:u8 ‖ 0 ‖ len:u32 ‖ message
//! ```
//!
//! | between | messages |
//! |---|---|
//! | client and agent | [`client`] |
//! | client and an agent that rehearses a step | [`rehearsal`] |
//! | agent and spawner | [`spawner`] |
//! | agent and worker | [`worker`] |
//! | agent and egress, worker and egress | [`egress`] |
//! | agent and compiler | [`compiler`] |
//! | agent and searcher | [`search`] |

#[cfg(feature = "async")]
mod asynchronous;
mod blocking;
pub mod client;
pub mod compiler;
pub mod egress;
mod frame;
pub mod rehearsal;
mod revealed;
pub mod search;
pub mod spawner;
pub mod worker;

#[cfg(feature = "async")]
pub use asynchronous::{FrameReader, FrameWriter, split};
pub use blocking::Channel;
pub use frame::{LONGEST_MESSAGE, MOST_DESCRIPTORS, WireError};
pub use revealed::Revealed;
