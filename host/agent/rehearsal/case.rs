//! One case, from a copy of its directories to what of it was not met.

use super::fixture::{Case, GivenSecret};
use super::folders::{Folders, read_body};
use super::refused::RehearsalError;
use super::seen::Seen;
use super::servers::{Canned, Log, Somewhere};
use super::{Rehearsal, keys};
use crate::agent::AgentError;
use crate::boottime::BootInstant;
use crate::egress::{Rehearsed, Requests};
use crate::signing::fits;
use crate::step::{Granted, HeldSecret, Work, check_arguments, open_directories, start_worker};
use crate::worker::Served;
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{Destination, GrantedOrigin, KeyUse, Method, PathPrefix, SecretUse, Undeclared};
use attest_evidence::name::SecretName;
use attest_evidence::report::{Explain as _, Fault};
use attest_leaks::Values;
use attest_spawner::User;
use attest_step::Manifest;
use attest_wire::client::{End, KeyAlgorithm};
use attest_wire::rehearsal::{CaseResult, Unmet};
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Events that wait to be heard.
const LONGEST_QUEUE: usize = 64;
/// As long as a step may hold what it was granted: longer than any may take.
const LEASE: Duration = Duration::from_secs(2 * 3600);
/// Most characters that are shown of what was there.
const LONGEST_SHOWN: usize = 4000;

impl Rehearsal {
    /// Runs one of its cases; none if there are not so many.
    ///
    /// # Errors
    /// What keeps the step from being run at all. What ends it in the field ends the case.
    pub async fn run(&self, number: usize) -> Option<Result<CaseResult, RehearsalError>> {
        Some(self.run_case(self.fixture.cases.get(number)?).await)
    }

    async fn run_case(&self, case: &Case) -> Result<CaseResult, RehearsalError> {
        let began = Instant::now();
        let manifest = self.step.manifest();
        check_arguments(&case.args)?;
        let folders = Folders::of(case, manifest, &self.folder)?;
        let no_stage = |error: std::io::Error| RehearsalError::NoStage(error.to_string());
        let directories = open_directories(manifest, folders.open(manifest).map_err(no_stage)?)?;
        let (servers, log) = self.servers(case)?;
        let granted = Granted {
            secrets: secrets(case, manifest),
            http: origins(manifest),
            undeclared: Undeclared::Report,
            served: self.served(case)?,
            files_of: myself(),
            expires: BootInstant::now().after(LEASE),
        };
        let mut seen = Seen::default();
        let (events, mut told) = mpsc::channel(LONGEST_QUEUE);
        let rehearsed =
            Rehearsed { servers: Box::new(servers), names: Box::new(Somewhere), in_any_place: in_any_place(case) };
        let worker = start_worker(&self.spawner, granted.files_of).map_err(AgentError::from)?;
        let work = async {
            let work = Work {
                spawner: &self.spawner,
                worker,
                patterns: &self.patterns,
                requests: Requests::Rehearsed(rehearsed),
                step: &self.step,
                code: &self.code,
                record: None,
                events: &events,
            };
            let ended = work.run(case.args.clone(), directories, granted, std::future::pending()).await;
            // With the last sender, what is heard comes to an end.
            drop(events);
            ended
        };
        let hear = async {
            while let Some(event) = told.recv().await {
                seen.hear(event);
            }
        };
        let (ended, ()) = tokio::join!(work, hear);
        seen.end(ending(ended)?);
        seen.received = received(&log);
        let unmet = case.expect.unmet(&seen, |file| folders.read(file));
        let masked = Masked::of(case);
        let unmet = unmet.into_iter().map(|unmet| masked.unmet(unmet)).collect();
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(CaseResult { name: case.name.clone(), took_us, unmet, notes: seen.notes, error: seen.error })
    }

    fn servers(&self, case: &Case) -> Result<(Canned, Log), RehearsalError> {
        let mut answers = Vec::with_capacity(case.http.len());
        for answer in &case.http {
            let body = match (&answer.body, &answer.body_file) {
                (Some(text), _) => text.clone().into_bytes(),
                (None, Some(file)) => {
                    let path = self.folder.join(file);
                    read_body(&path).map_err(|error| RehearsalError::Material {
                        case: case.name.clone(),
                        path,
                        reason: error.to_string(),
                    })?
                }
                (None, None) => Vec::new(),
            };
            answers.push((answer, body));
        }
        Canned::new(answers).map_err(|what| RehearsalError::BadCase { case: case.name.clone(), what })
    }

    /// All that the manifest declares.
    fn served(&self, case: &Case) -> Result<Served, RehearsalError> {
        let manifest = self.step.manifest();
        let revealed = manifest.secrets.iter().filter(|(_, declared)| declared.usage == SecretUse::Reveal);
        let mut served = Served {
            revealed: revealed.map(|(name, _)| name.clone()).collect(),
            outputs: manifest.outputs.keys().cloned().collect(),
            summary: manifest.summary.is_some(),
            annotations: manifest.annotations.is_some(),
            ..Served::default()
        };
        let seed = &self.fixture.seed;
        for (name, declared) in &manifest.keys {
            match declared.usage {
                KeyUse::Derive => drop(served.derivation.insert(name.clone(), keys::derivation(seed, name))),
                KeyUse::Sign => {
                    let algorithm = case.keys.get(name).copied().unwrap_or(KeyAlgorithm::P256);
                    let key = keys::signing(seed, name, algorithm).ok_or_else(|| {
                        RehearsalError::NoStage(format!("there is no key `{name}` of this seed: choose another"))
                    })?;
                    for format in &declared.formats {
                        fits(&key.public, *format).map_err(|error| RehearsalError::NoStage(error.to_string()))?;
                    }
                    served.signing.insert(name.clone(), (key, declared.formats.iter().copied().collect()));
                }
            }
        }
        Ok(served)
    }
}

/// How a step ended. What keeps a machine from running any step is no end of one.
fn ending(ended: Result<End, AgentError>) -> Result<End, RehearsalError> {
    let report = match ended {
        Ok(end) => return Ok(end),
        Err(error) => match error.report() {
            report if matches!(report.fault, Fault::Environment | Fault::Usage | Fault::Bug) => {
                return Err(error.into());
            }
            report => report,
        },
    };
    Ok(End::Failed { report, audit: None })
}

fn received(log: &Log) -> Vec<super::seen::Received> {
    std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner))
}

fn myself() -> User {
    User { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() }
}

/// Where the step may send: what it declares.
fn origins(manifest: &Manifest) -> Vec<GrantedOrigin> {
    let origins = manifest.http.origins();
    origins.map(|(origin, private)| GrantedOrigin { origin: origin.clone(), private }).collect()
}

/// The secrets, with what a broker would grant of them: all that the fixture does not narrow.
fn secrets(case: &Case, manifest: &Manifest) -> Vec<HeldSecret> {
    let held = case.values().map(|(name, given)| {
        let value = SecretBytes::new(given.value.expose(<[u8]>::to_vec));
        let destinations = destinations(given, manifest);
        // A token goes into requests, and nowhere else.
        let usage = manifest.secrets.get(name).map_or(SecretUse::Http, |declared| declared.usage);
        HeldSecret { name: name.clone(), usage, destinations, value }
    });
    held.collect()
}

fn destinations(given: &GivenSecret, manifest: &Manifest) -> Vec<Destination> {
    let methods = if given.methods.is_empty() { Method::ALL.to_vec() } else { given.methods.clone() };
    let whole = |(origin, path): (_, PathPrefix)| Destination {
        origin,
        path,
        methods: methods.clone(),
        places: given.places.clone(),
        // Whether an origin may lie in a private network is the manifest's to say.
        private: true,
    };
    if given.to.is_empty() {
        manifest.http.origins().map(|(origin, _)| whole((origin.clone(), PathPrefix::all()))).collect()
    } else {
        given.to.iter().map(|to| whole((to.origin.clone(), to.path.clone()))).collect()
    }
}

/// Secrets of which the fixture does not say in which place of a request they may stand.
fn in_any_place(case: &Case) -> Vec<SecretName> {
    let given = case.values().filter(|(_, given)| given.places.is_empty());
    given.map(|(name, _)| name.clone()).collect()
}

/// Keeps secrets out of what is shown: they may be real ones, whatever a fixture is for.
struct Masked(Option<Values>);

impl Masked {
    /// For the secrets of a case. With one that can't be looked for, no step has run, and what is shown is not from it.
    fn of(case: &Case) -> Self {
        let copy = |given: &GivenSecret| Zeroizing::new(given.value.expose(<[u8]>::to_vec));
        let copies: Vec<_> = case.values().map(|(name, given)| (name.as_str(), copy(given))).collect();
        Self(Values::new(copies.iter().map(|(name, value)| (*name, value.as_slice()))).ok())
    }

    fn unmet(&self, unmet: Unmet) -> Unmet {
        let Unmet { expectation, wanted, got } = unmet;
        Unmet { expectation, wanted: self.shown(&wanted), got: self.shown(&got) }
    }

    /// A text without secrets, and not longer than somebody reads.
    fn shown(&self, text: &str) -> String {
        let masked = match &self.0 {
            Some(values) => values.mask_whole(text).0,
            None => text.into(),
        };
        match masked.char_indices().nth(LONGEST_SHOWN) {
            Some((end, _)) => {
                let (front, rest) = masked.split_at(end);
                format!("{front}… and {} bytes more", rest.len())
            }
            None => masked.into_owned(),
        }
    }
}
