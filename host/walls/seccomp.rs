//! System calls: those on the list, some of them with certain arguments only. Any other ends the process.
//!
//! The lists are data, and lie with the programs that need them: tests run all that such a program does, and fail for a
//! rule that nothing needs.

use super::{Wall, WallError};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::{BTreeMap, BTreeSet};

/// The system calls that a program makes.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    /// Let through whatever their arguments are.
    pub free: &'static [i64],
    /// Let through with certain arguments only. A call that stands here several times passes by any of its lines.
    pub bound: &'static [(i64, Only)],
}

/// Which arguments a call is let through with. Arguments are counted from 0.
#[derive(Debug, Clone, Copy)]
pub enum Only {
    /// This argument is one of these.
    OneOf(u8, &'static [i32]),
    /// This argument is the process's own id.
    OwnProcess(u8),
}

impl Calls {
    /// The numbers of the calls that are let through.
    pub fn numbers(&self) -> BTreeSet<i64> {
        self.free.iter().copied().chain(self.bound.iter().map(|(call, _)| *call)).collect()
    }
}

impl Only {
    fn rules(self) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        let (argument, values) = match self {
            Self::OneOf(argument, values) => (argument, values.iter().map(|value| value.unsigned_abs()).collect()),
            Self::OwnProcess(argument) => (argument, vec![rustix::process::getpid().as_raw_pid().unsigned_abs()]),
        };
        let rule = |value: u32| {
            let equal = SeccompCmpOp::Eq;
            let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, equal, value.into())?;
            SeccompRule::new(vec![condition])
        };
        values.into_iter().map(rule).collect()
    }
}

pub(super) fn filter(calls: &Calls) -> Result<(), WallError> {
    let failed = |error: seccompiler::BackendError| WallError::new(Wall::Seccomp, error);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, only) in calls.bound {
        rules.entry(*call).or_default().extend(only.rules().map_err(failed)?);
    }
    // A call without rules passes always.
    rules.extend(calls.free.iter().map(|call| (*call, Vec::new())));
    let architecture = std::env::consts::ARCH.try_into().map_err(failed)?;
    let filter =
        SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture).map_err(failed)?;
    let program: BpfProgram = filter.try_into().map_err(failed)?;
    seccompiler::apply_filter(&program).map_err(|error| WallError::new(Wall::Seccomp, error))
}
