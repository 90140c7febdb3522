//! The TPM crate on real TPMs: libtpms in its helper process, and swtpm.

mod device;
mod endorsement;
mod endurance;
mod leased;
