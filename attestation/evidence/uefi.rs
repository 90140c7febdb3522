//! What UEFI firmware and boot loaders put into the TCG event log: the structures behind the digests.
//!
//! All of it is little-endian, and all of it came to us from the machine that is to be judged. Two rules follow for
//! whoever uses this module:
//!
//! * **A parsed structure is a claim until its digest has been compared.** Which bytes an event's digest covers depends
//!   on the type of the event (TCG PC Client Platform Firmware Profile, "PFP", §10.4.1). It covers the whole event for
//!   [`gpt`] and most of [`variable`], where [`variable::Variable::covered_by`] does the comparison. It covers
//!   *nothing* of the event for [`image`], [`firmware`] and the tagged events of Linux: there the digest is of the
//!   image, the blob, the table, the initrd, and the event is a label that anybody may have written.
//! * **Text is a stranger's.** Every `String` here may hold control characters, line ends, bidirectional overrides or
//!   quotes. It must be escaped before a person or a terminal sees it. Text that decisions are matched on (variable
//!   names, file paths) is decoded strictly: unpaired surrogates are refused. Text for people only (descriptions,
//!   partition names) has U+FFFD in their place.
//!
//! Framing is strict: lengths must fit, nothing may be left over. The one exception, [`MOST_PADDING`], is there because
//! shims in use leave such bytes.

mod cursor;
pub mod device_path;
pub mod firmware;
pub mod gpt;
pub mod guid;
pub mod image;
pub mod load_option;
pub mod signature_list;
pub mod tagged;
pub mod variable;

pub use cursor::MOST_PADDING;
pub use device_path::DevicePath;
pub use gpt::PartitionTable;
pub use guid::Guid;
pub use image::ImageLoad;
pub use load_option::LoadOption;
pub use signature_list::Signature;
pub use tagged::TaggedEvent;
pub use variable::Variable;
