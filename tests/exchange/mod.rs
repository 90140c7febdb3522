//! Exchanges with a real broker, by an agent that misbehaves.

mod alarms;
mod binding;
mod boots;
mod clocks;
mod closing;
mod crash;
mod enrolment;
mod keys;
mod leases;
mod machine;
mod measurements;
mod quotes;
mod replay;
mod verdicts;
mod vm;
