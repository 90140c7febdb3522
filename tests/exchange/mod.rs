//! Exchanges with a real broker, by an agent that misbehaves.

mod alarms;
mod binding;
mod boots;
mod clocks;
mod crash;
mod enrolment;
mod leases;
mod quotes;
mod replay;
