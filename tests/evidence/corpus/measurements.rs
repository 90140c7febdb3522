//! Measurement lists beside PCR values that are right: changed, cut, mislabelled.

use super::case::{Case, Facts, IMA, PCRS};
use super::lists::{self, EntryParts, List, fields, file};
use super::parents;

pub(crate) fn cases() -> Vec<Case> {
    let made = Lists { parent: parents::made_list(), list: lists::made(), prefix: "made" };
    let server = parents::server_list();
    let list = lists::pieces(server.file(IMA), |_| true);
    let server = Lists { parent: server, list, prefix: "server" };
    let mut cases =
        [made.entries(0, 1), made.forms(1), made.templates(), server.entries(0, 1), server.forms(1)].concat();
    cases.extend([made.violations(3), server.violations(9)].concat());
    let laptop = parents::laptop_list();
    cases.push(
        laptop
            .refuse("list-of-another-machine", "AR-E606", "the list of another machine")
            .with(IMA, server.parent.file(IMA)),
    );
    cases.push(laptop.refuse("list-empty", "AR-E606", "no entry").with(IMA, Vec::new()));
    cases.push(
        laptop.refuse("values-of-another-bank", "AR-E606", "the SHA-1 value's bytes, said to be of SHA-256").with(
            PCRS,
            br#"{"sha256":{"10":"9daf565b98641dc4b47a625a2a0da9636d779ce7000000000000000000000000"}}"#.as_slice(),
        ),
    );
    cases
}

struct Lists {
    prefix: &'static str,
    parent: Case,
    list: List,
}

impl Lists {
    fn changed(&self, change: impl FnOnce(&mut Vec<EntryParts>)) -> Vec<u8> {
        let mut list = self.list.clone();
        change(&mut list.0);
        list.bytes()
    }

    fn refuse(&self, name: &str, code: &str, what: &str, change: impl FnOnce(&mut Vec<EntryParts>)) -> Case {
        self.parent.refuse(&format!("{}-{name}", self.prefix), code, what).with(IMA, self.changed(change))
    }

    fn accept(&self, name: &str, what: &str, change: impl FnOnce(&mut Vec<EntryParts>)) -> Case {
        self.parent.accept(&format!("{}-{name}", self.prefix), what).with(IMA, self.changed(change))
    }

    /// Entries that are not where they belong. `first` and `second` are of other content.
    fn entries(&self, first: usize, second: usize) -> Vec<Case> {
        let wrong = "AR-E606";
        let last = self.list.0.len() - 1;
        let another =
            || EntryParts::measured("ima-ng", fields(&file(b"one more", "/tmp/more").each_ref().map(Vec::as_slice)));
        let behind = |facts: &mut Facts| facts.covered = self.list.covered();
        vec![
            self.refuse("first-removed", wrong, "without its first entry", |list| {
                list.remove(first);
            }),
            self.refuse("removed", wrong, "without its second entry", |list| {
                list.remove(second);
            }),
            self.refuse("last-removed", wrong, "without its last entry", |list| {
                list.remove(last);
            }),
            self.refuse("reversed", wrong, "from its last entry to its first", |list| list.reverse()),
            self.refuse("doubled", wrong, "its first entry twice", |list| list.insert(0, list[0].clone())),
            self.refuse("added-in-front", wrong, "another entry in front", |list| list.insert(0, another())),
            self.refuse("added-in-the-middle", wrong, "another entry in the middle", |list| {
                list.insert(second, another())
            }),
            self.accept(
                "added-behind",
                "another entry behind the last one: the kernel measures on, and the quoted value does \
                         not cover it",
                |list| list.push(another()),
            )
            .facts(behind),
            self.refuse("twice", "AR-E606", "without its last entry, and then all of it", |list| {
                let all = list.clone();
                list.pop();
                list.extend(all);
            }),
            self.refuse("pcr-changed", wrong, "its second entry is said to be of PCR 12", |list| list[second].pcr = 12),
            self.refuse("digest-changed", "AR-E603", "a bit of its second entry's digest", |list| {
                list[second].template_digest[0] ^= 1;
            }),
            self.refuse("data-changed", "AR-E603", "a bit of its second entry's data", |list| {
                list[second].data[12] ^= 1;
            }),
            self.refuse(
                "data-and-digest-changed",
                wrong,
                "another file for its second entry, and its digest",
                |list| {
                    let place = list[second].data.len() - 7;
                    list[second].data[place] ^= 1;
                    list[second].digested();
                },
            ),
            self.refuse("boot-aggregate-changed", wrong, "another boot aggregate, and its digest", |list| {
                list[first].data[20] ^= 1;
                list[first].digested();
            }),
        ]
    }

    /// Lengths and indexes.
    fn forms(&self, at: usize) -> Vec<Case> {
        let refuse = |name, what, change: &dyn Fn(&mut EntryParts)| {
            self.refuse(name, "AR-E601", what, |list| change(&mut list[at]))
        };
        vec![
            refuse("name-2-31", "a template name of 2^31 bytes", &|entry| entry.name_length = Some(1 << 31)),
            refuse("name-2-32", "a template name of 2^32 - 1 bytes", &|entry| entry.name_length = Some(u32::MAX)),
            refuse("name-255", "a template name of 255 bytes", &|entry| entry.name = vec![b'd'; 255]),
            refuse("name-empty", "no template name", &|entry| entry.name.clear()),
            refuse("data-2-31", "data of 2^31 bytes", &|entry| entry.data_length = Some(1 << 31)),
            refuse("data-2-32", "data of 2^32 - 1 bytes", &|entry| entry.data_length = Some(u32::MAX)),
            refuse("pcr-24", "of PCR 24", &|entry| entry.pcr = 24),
            refuse("pcr-2-32", "of PCR 0xffffffff", &|entry| entry.pcr = u32::MAX),
        ]
    }

    /// A violation is extended as ones, whatever was measured.
    fn violations(&self, at: usize) -> Vec<Case> {
        let wrong = "AR-E606";
        vec![
            self.refuse(
                "violation-forged",
                wrong,
                "its second entry is made a violation: its digest is zeros",
                |list| {
                    list[1].template_digest = vec![0; 20];
                },
            ),
            self.refuse("violation-hidden", wrong, "its violation is given the digest of its data", |list| {
                list[at].digested()
            }),
            self.refuse("violation-removed", wrong, "without its violation", |list| {
                list.remove(at);
            }),
            self.accept(
                "violation-of-another-file",
                "its violation is said to be of another file: nothing vouches for its data",
                |list| {
                    let place = list[at].data.len() - 7;
                    list[at].data[place] ^= 1;
                },
            ),
        ]
    }

    /// A template's name is in no digest.
    fn templates(&self) -> Vec<Case> {
        let named = |name, code, what, at: usize, template: &str| {
            self.refuse(name, code, what, |list| list[at].name = template.into())
        };
        let mut same = self.accept(
            "sig-as-buf",
            "an entry of `ima-sig` is said to be of `ima-buf`: both have the same fields, and nothing tells them \
             apart. What is in the last one is a buffer only if the digest is the digest of it",
            |list| list[2].name = "ima-buf".into(),
        );
        same.clause = Some("Documentation/security/IMA-templates.rst");
        vec![
            named("ng-as-sig", "AR-E601", "an entry of `ima-ng` is said to be of `ima-sig`", 1, "ima-sig"),
            named("ng-as-ngv2", "AR-E601", "an entry of `ima-ng` is said to be of `ima-ngv2`", 1, "ima-ngv2"),
            named("ng-as-modsig", "AR-E601", "an entry of `ima-ng` is said to be of `ima-modsig`", 1, "ima-modsig"),
            named("sig-as-ng", "AR-E601", "an entry of `ima-sig` is said to be of `ima-ng`", 2, "ima-ng"),
            named("ng-as-ima", "AR-E601", "an entry of `ima-ng` is said to be of `ima`", 1, "ima"),
            named("unknown", "AR-E604", "an entry of a template that is not known", 1, "ima-new"),
            same,
        ]
    }
}
