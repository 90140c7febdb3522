//! What a manifest must be beyond its form: bounded, and free of contradictions.

use super::{BadManifest, LONGEST_WHY, MOST_DECLARATIONS, Manifest};
use attest_evidence::exchange::{Destination, KeyUse, SecretUse};
use attest_evidence::report::excerpt;
use std::collections::BTreeSet;

/// The longest name of a variable.
const LONGEST_VARIABLE: usize = 128;

/// Variables that decide what a program loads, runs, trusts or whom it asks, in shells, loaders, C libraries, TLS
/// libraries and the runtimes that are compiled to WebAssembly. A secret is none of that.
const STEERING: [&str; 52] = [
    "ALL_PROXY",
    "BASH_ENV",
    "CDPATH",
    "CLASSPATH",
    "CURL_CA_BUNDLE",
    "ENV",
    "FTP_PROXY",
    "GCONV_PATH",
    "GEM_HOME",
    "GEM_PATH",
    "GLIBC_TUNABLES",
    "GOPATH",
    "GOROOT",
    "GODEBUG",
    "HOME",
    "HOSTALIASES",
    "HOSTNAME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LANG",
    "LANGUAGE",
    "LOCALDOMAIN",
    "LOCPATH",
    "LOGNAME",
    "NLSPATH",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "NO_PROXY",
    "OLDPWD",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "PATH",
    "PHPRC",
    "PWD",
    "REQUESTS_CA_BUNDLE",
    "RES_OPTIONS",
    "RUBYLIB",
    "RUBYOPT",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TEMP",
    "TERM",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
];
/// How those begin that come in families.
const STEERING_FAMILIES: [&str; 11] =
    ["ATTEST_", "DOTNET_", "DYLD_", "GIT_CONFIG", "LC_", "LD_", "MALLOC_", "PERL5", "PYTHON", "RUST_", "_"];

/// What is wrong with a name for a variable.
fn bad_variable(name: &str) -> Option<&'static str> {
    let first = name.bytes().next().is_some_and(|c| c.is_ascii_uppercase() || c == b'_');
    if !first || !name.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_') {
        return Some("a name is made of A-Z, 0-9 and `_`, and begins with no digit");
    }
    if name.len() > LONGEST_VARIABLE {
        return Some("it is longer than 128 characters");
    }
    if STEERING.contains(&name) || STEERING_FAMILIES.iter().any(|family| name.starts_with(family)) {
        return Some("it decides what programs load, run or trust, and a secret does not");
    }
    None
}

impl Manifest {
    /// Everything that its types don't hold.
    pub(super) fn check(&self) -> Result<(), BadManifest> {
        self.check_counts()?;
        self.check_reasons()?;
        self.check_limits()?;
        self.check_keys()?;
        self.check_http()?;
        self.check_secrets()?;
        self.check_tokens()?;
        self.check_directories()
    }

    fn check_counts(&self) -> Result<(), BadManifest> {
        let counts = [
            ("secrets", self.secrets.len()),
            ("tokens", self.tokens.len()),
            ("keys", self.keys.len()),
            ("dirs", self.dirs.len()),
            ("origins in http", self.http.allow.len() + self.http.private.len()),
            ("outputs", self.outputs.len()),
        ];
        let counts = counts.into_iter().map(|(kind, count)| (kind.to_owned(), count));
        let to = self.secrets.iter().map(|(name, secret)| (format!("`to` of secrets.{name}"), secret.to.len()));
        let tokens = self.tokens.iter().map(|(name, token)| (format!("`to` of tokens.{name}"), token.to.len()));
        match counts.chain(to).chain(tokens).find(|(_, count)| *count > MOST_DECLARATIONS) {
            Some((kind, count)) => Err(BadManifest::TooMany { kind, count }),
            None => Ok(()),
        }
    }

    fn check_reasons(&self) -> Result<(), BadManifest> {
        let secrets = self.secrets.iter().map(|(name, declared)| (format!("secrets.{name}"), &declared.why));
        let tokens = self.tokens.iter().map(|(name, declared)| (format!("tokens.{name}"), &declared.why));
        let keys = self.keys.iter().map(|(name, declared)| (format!("keys.{name}"), &declared.why));
        let dirs = self.dirs.iter().map(|(name, declared)| (format!("dirs.{name}"), &declared.why));
        let outputs = self.outputs.iter().map(|(name, declared)| (format!("outputs.{name}"), &declared.why));
        let http = (!self.http.is_empty()).then(|| ("http".to_owned(), &self.http.why));
        let summary = self.summary.iter().map(|declared| ("summary".to_owned(), &declared.why));
        let annotations = self.annotations.iter().map(|declared| ("annotations".to_owned(), &declared.why));
        let named = secrets.chain(tokens).chain(keys).chain(dirs).chain(outputs);
        for (declaration, why) in named.chain(http).chain(summary).chain(annotations) {
            if why.trim().is_empty() || !is_a_sentence(why) {
                return Err(BadManifest::Why { declaration });
            }
        }
        if is_a_sentence(&self.step.description) { Ok(()) } else { Err(BadManifest::Description) }
    }

    fn check_limits(&self) -> Result<(), BadManifest> {
        let limits = [
            ("memory_mib", self.limits.memory_mib, 2048),
            ("seconds", self.limits.seconds, 3600),
            ("output_mib", self.limits.output_mib, 64),
        ];
        match limits.into_iter().find(|(_, value, most)| *value == 0 || value > most) {
            Some((limit, value, most)) => Err(BadManifest::Limit { limit, value, most }),
            None => Ok(()),
        }
    }

    fn check_keys(&self) -> Result<(), BadManifest> {
        for (name, key) in &self.keys {
            let declaration = format!("keys.{name}");
            let different: BTreeSet<_> = key.formats.iter().collect();
            match key.usage {
                KeyUse::Sign if different.is_empty() || different.len() != key.formats.len() => {
                    return Err(BadManifest::Formats { declaration });
                }
                KeyUse::Derive if !key.formats.is_empty() => {
                    return Err(BadManifest::FormatsOfDerivation { declaration });
                }
                KeyUse::Sign | KeyUse::Derive => {}
            }
        }
        Ok(())
    }

    fn check_http(&self) -> Result<(), BadManifest> {
        if self.http.is_empty() && !self.http.why.is_empty() {
            return Err(BadManifest::EmptyHttp);
        }
        let mut seen = BTreeSet::new();
        match self.http.origins().find(|(origin, _)| !seen.insert(*origin)) {
            Some((origin, _)) => Err(BadManifest::OriginTwice { origin: origin.to_string() }),
            None => Ok(()),
        }
    }

    fn check_secrets(&self) -> Result<(), BadManifest> {
        let mut variables = BTreeSet::new();
        for (name, secret) in &self.secrets {
            let declaration = format!("secrets.{name}");
            let usage = secret.usage;
            if usage != SecretUse::Http && !secret.to.is_empty() {
                return Err(BadManifest::ToWithoutHttp { declaration, usage });
            }
            if usage == SecretUse::Http {
                self.check_sent(&declaration, &secret.to)?;
            }
            match (usage, &secret.variable) {
                (SecretUse::Env, None) => return Err(BadManifest::NoVariable { declaration }),
                (SecretUse::Env, Some(variable)) => {
                    if let Some(why) = bad_variable(variable) {
                        let variable = excerpt(variable);
                        return Err(BadManifest::Variable { declaration, variable, why });
                    }
                    if !variables.insert(variable) {
                        return Err(BadManifest::VariableTwice { declaration, variable: variable.clone() });
                    }
                }
                (_, Some(_)) => return Err(BadManifest::VariableWithoutEnv { declaration, usage }),
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn check_tokens(&self) -> Result<(), BadManifest> {
        for (name, token) in &self.tokens {
            // To a step they are alike: it opens both by their names.
            if self.secrets.contains_key(name) {
                return Err(BadManifest::NameTwice { declaration: format!("tokens.{name}") });
            }
            self.check_sent(&format!("tokens.{name}"), &token.to)?;
        }
        Ok(())
    }

    /// What is put into requests: there are some, and it goes where they go.
    fn check_sent(&self, declaration: &str, to: &[Destination]) -> Result<(), BadManifest> {
        let declaration = || declaration.to_owned();
        if self.http.is_empty() {
            return Err(BadManifest::NoHttp { declaration: declaration() });
        }
        let mut seen = BTreeSet::new();
        for destination in to {
            let written = format!("{}{}", destination.origin, destination.path.as_str());
            if !self.http.covers(&destination.origin) {
                return Err(BadManifest::NotListed { declaration: declaration(), destination: written });
            }
            if !seen.insert(written.clone()) {
                return Err(BadManifest::DestinationTwice { declaration: declaration(), destination: written });
            }
        }
        Ok(())
    }

    fn check_directories(&self) -> Result<(), BadManifest> {
        let mut places = BTreeSet::new();
        for (name, directory) in &self.dirs {
            let place = directory.place(name);
            if !places.insert(place.clone()) {
                return Err(BadManifest::PlaceTwice { declaration: format!("dirs.{name}"), place });
            }
        }
        Ok(())
    }
}

/// Whether people can read it in a line.
fn is_a_sentence(text: &str) -> bool {
    text.chars().count() <= LONGEST_WHY && !text.chars().any(char::is_control)
}
