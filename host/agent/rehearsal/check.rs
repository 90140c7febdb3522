//! Whether a case goes with a step: it gives what the step declares, and speaks of nothing else.

use super::fixture::{Case, GivenSecret};
use super::refused::RehearsalError;
use super::servers;
use attest_evidence::exchange::{KeyUse, SecretUse};
use attest_evidence::name::{KeyName, SecretName};
use attest_step::Manifest;
use std::fmt;
use std::path::{Component, Path};

impl Case {
    /// Holds the case against the manifest.
    pub(super) fn check(&self, manifest: &Manifest) -> Result<(), RehearsalError> {
        self.check_secrets(manifest)?;
        self.check_keys(manifest)?;
        self.check_declared("dirs", self.dirs.keys(), manifest.dirs.keys())?;
        self.check_http(manifest)?;
        self.check_expected(manifest)
    }

    fn bad(&self, what: String) -> RehearsalError {
        RehearsalError::BadCase { case: self.name.clone(), what }
    }

    fn missing(&self, section: &'static str, name: &SecretName) -> RehearsalError {
        RehearsalError::SecretMissing { case: self.name.clone(), section, name: name.clone() }
    }

    fn undeclared(&self, what: String, declared: impl IntoIterator<Item: ToString>) -> RehearsalError {
        let declared = declared.into_iter().map(|name| name.to_string()).collect();
        RehearsalError::Undeclared { case: self.name.clone(), what, declared }
    }

    fn check_declared<'a, N: fmt::Display + PartialEq + 'a>(
        &self,
        section: &str,
        mut named: impl Iterator<Item = &'a N>,
        declared: impl Iterator<Item = &'a N> + Clone,
    ) -> Result<(), RehearsalError> {
        match named.find(|name| !declared.clone().any(|declared| declared == *name)) {
            Some(name) => Err(self.undeclared(format!("{section}.{name}"), declared)),
            None => Ok(()),
        }
    }

    fn check_secrets(&self, manifest: &Manifest) -> Result<(), RehearsalError> {
        self.check_declared("secrets", self.secrets.keys(), manifest.secrets.keys())?;
        self.check_declared("tokens", self.tokens.keys(), manifest.tokens.keys())?;
        if let Some(name) = manifest.tokens.keys().find(|name| !self.tokens.contains_key(name)) {
            return Err(self.missing("tokens", name));
        }
        for (name, declared) in &manifest.secrets {
            let Some(GivenSecret { to, methods, places, .. }) = self.secrets.get(name) else {
                return Err(self.missing("secrets", name));
            };
            let anywhere = to.is_empty() && methods.is_empty() && places.is_empty();
            if declared.usage != SecretUse::Http && !anywhere {
                return Err(
                    self.bad(format!("secrets.{name} is not put into requests: it has no `to`, `methods` or `in`"))
                );
            }
        }
        Ok(())
    }

    fn check_keys(&self, manifest: &Manifest) -> Result<(), RehearsalError> {
        self.check_declared("keys", self.keys.keys(), manifest.keys.keys())?;
        let derives = |name: &KeyName| manifest.keys.get(name).is_some_and(|declared| declared.usage == KeyUse::Derive);
        match self.keys.keys().find(|name| derives(name)) {
            Some(name) => Err(self.bad(format!("keys.{name} is a key to derive from, of which there is one kind"))),
            None => Ok(()),
        }
    }

    fn check_http(&self, manifest: &Manifest) -> Result<(), RehearsalError> {
        for answer in &self.http {
            let origin = &answer.url.origin;
            if !manifest.http.covers(origin) {
                let declared = manifest.http.origins().map(|(origin, _)| origin);
                return Err(self.undeclared(format!("requests to {origin}"), declared));
            }
            let request = format!("{} {}", answer.method.as_str(), answer.url);
            servers::head(answer).map_err(|why| self.bad(format!("the answer to {request}: {why}")))?;
            if answer.body.is_some() && answer.body_file.is_some() {
                return Err(self.bad(format!("the answer to {request} has a `body` and a `body_file`")));
            }
        }
        Ok(())
    }

    fn check_expected(&self, manifest: &Manifest) -> Result<(), RehearsalError> {
        let expect = &self.expect;
        self.check_declared("outputs", expect.outputs.keys(), manifest.outputs.keys())?;
        let summary = !expect.summary.contains.is_empty();
        let annotations =
            expect.annotations.count.is_some_and(|count| count > 0) || !expect.annotations.contains.is_empty();
        for (section, expected, declared) in [
            ("summary", summary, manifest.summary.is_some()),
            ("annotations", annotations, manifest.annotations.is_some()),
        ] {
            if expected && !declared {
                return Err(self.undeclared(section.to_owned(), None::<String>));
            }
        }
        for (file, expected) in &expect.files {
            let (name, path) = file.split_once('/').unwrap_or((file, ""));
            if !manifest.dirs.keys().any(|declared| declared.as_str() == name) {
                return Err(self.undeclared(format!("dirs.{name}"), manifest.dirs.keys()));
            }
            let plain =
                !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            if !plain {
                return Err(self.bad(format!("`{file}` is no file of a directory: `NAME/PATH`")));
            }
            if !expected.is_whole() {
                return Err(self.bad(format!(
                    "of `{file}` there is expected either `absent = true`, or one or more of `contains`, `equals` and `sha256`"
                )));
            }
        }
        let requests = expect.requests.iter().flatten();
        let secrets = requests.flat_map(|request| request.secrets.iter().flatten()).map(|secret| &secret.name);
        self.check_declared("secrets", secrets, manifest.secrets.keys().chain(manifest.tokens.keys()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::fixture::Fixture;

    const MANIFEST: &str = r#"
        [step]
        name = "s"
        [secrets.token]
        why = "w"
        [secrets.seen]
        use = "reveal"
        why = "w"
        [tokens.registry]
        audience = "a"
        to = ["https://files.example.org"]
        why = "w"
        [keys.derived]
        use = "derive"
        why = "w"
        [dirs.dist]
        mode = "read"
        why = "w"
        [http]
        allow = ["https://files.example.org"]
        why = "w"
    "#;
    const SECRETS: &str =
        "secrets = { token = \"0123456789\", seen = \"9876543210\" }\ntokens.registry = \"0123443210\"\n";

    fn checked(case: &str) -> Result<(), RehearsalError> {
        let fixture = Fixture::parse(format!("[[case]]\nname = \"c\"\n{case}").as_bytes()).unwrap();
        fixture.cases[0].check(&Manifest::parse(MANIFEST.as_bytes()).unwrap())
    }

    #[test]
    fn a_case_gives_every_secret() {
        assert_eq!(checked(SECRETS), Ok(()));
        let missing = |section, name: &str| {
            Err(RehearsalError::SecretMissing { case: "c".to_owned(), section, name: name.parse().unwrap() })
        };
        let tokens = "tokens.registry = \"0123443210\"\n";
        assert_eq!(checked(&format!("secrets.seen = \"0123456789\"\n{tokens}")), missing("secrets", "token"));
        assert_eq!(checked(&SECRETS.replace(tokens, "")), missing("tokens", "registry"));
    }

    #[test]
    fn a_case_speaks_of_what_is_declared() {
        let http = |url: &str| format!("[[case.http]]\nmethod = \"GET\"\nurl = \"{url}\"\n");
        for (more, wanted) in [
            ("dirs.dits = \"x\"".to_owned(), "dirs.dits"),
            ("keys.release = \"p256\"".to_owned(), "keys.release"),
            ("tokens.npm = \"0123456789\"".to_owned(), "tokens.npm"),
            (http("https://other.example.org/"), "requests to https://other.example.org"),
            ("expect.outputs.out = \"x\"".to_owned(), "outputs.out"),
            ("expect.summary.contains = \"x\"".to_owned(), "summary"),
            ("expect.annotations.count = 1".to_owned(), "annotations"),
            ("expect.files.\"dits/a\".absent = true".to_owned(), "dirs.dits"),
        ] {
            match checked(&format!("{SECRETS}{more}")) {
                Err(RehearsalError::Undeclared { what, .. }) => assert_eq!(what, wanted),
                other => panic!("{more}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let answer =
            |more: &str| format!("[[case.http]]\nmethod = \"GET\"\nurl = \"https://files.example.org\"\n{more}");
        for (more, wanted) in [
            ("keys.derived = \"p256\"".to_owned(), "one kind"),
            ("expect.files.\"dist/../a\".absent = true".to_owned(), "is no file of a directory"),
            ("expect.files.\"dist/a\" = {}".to_owned(), "either"),
            ("expect.files.\"dist/a\" = { absent = true, equals = \"\" }".to_owned(), "either"),
            (answer("status = 101"), "no status"),
            (answer("headers = { \"a b\" = \"c\" }"), "no header"),
            (answer("body = \"a\"\nbody_file = \"b\""), "`body_file`"),
        ] {
            match checked(&format!("{SECRETS}{more}")) {
                Err(RehearsalError::BadCase { what, .. }) => assert!(what.contains(wanted), "{what}"),
                other => panic!("{more}: {other:?}"),
            }
        }
        let seen = SECRETS.replace("seen = \"9876543210\"", "seen = { value = \"9876543210\", in = [\"basic\"] }");
        match checked(&seen) {
            Err(RehearsalError::BadCase { what, .. }) => assert!(what.contains("is not put into requests"), "{what}"),
            other => panic!("{other:?}"),
        }
    }
}
