//! TPM.
