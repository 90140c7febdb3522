//! Event logs beside a quote that is right: changed, cut, mislabelled.

use super::case::{Case, Facts, LOG};
use super::events::{EventParts, LogParts};
use super::parents::{self, Made};
use crate::read;
use attest_evidence::eventlog::EventType;
use attest_evidence::tpm::algorithm::{SHA1, SHA256};

/// `TPM_ALG_SHA3_256`, which no log of the corpus has.
const SHA3_256: u16 = 0x0027;

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (prefix, made) in [("workstation", parents::workstation_log()), ("short", parents::locality_log())] {
        let logs = Logs { parts: LogParts::of(made.case.file(LOG)), made, prefix };
        all.extend([logs.replay(), logs.data(), logs.forms(), logs.headers(), logs.whole()].concat());
    }
    let made = parents::locality_log();
    let logs = Logs { parts: LogParts::of(made.case.file(LOG)), made, prefix: "short" };
    all.extend(logs.localities());
    let made = parents::workstation_log();
    all.extend(Logs { parts: LogParts::of(made.case.file(LOG)), made, prefix: "workstation" }.false_localities());
    all
}

struct Logs {
    prefix: &'static str,
    made: Made,
    parts: LogParts,
}

impl Logs {
    fn refuse(&self, name: &str, code: &str, what: &str, change: impl FnOnce(&mut LogParts)) -> Case {
        self.bytes(name, code, what, self.changed(change))
    }

    fn bytes(&self, name: &str, code: &str, what: &str, bytes: Vec<u8>) -> Case {
        self.made.case.refuse(&format!("{}-{name}", self.prefix), code, what).with(LOG, bytes)
    }

    fn accept(&self, name: &str, what: &str, change: impl FnOnce(&mut LogParts)) -> Case {
        self.made.case.accept(&format!("{}-{name}", self.prefix), what).with(LOG, self.changed(change))
    }

    fn changed(&self, change: impl FnOnce(&mut LogParts)) -> Vec<u8> {
        let mut parts = self.parts.clone();
        change(&mut parts);
        parts.bytes()
    }

    /// What changes the values that the log leads to.
    fn replay(&self) -> Vec<Case> {
        let separator = self.parts.find(2, EventType::SEPARATOR);
        let secure_boot = self.parts.find(7, EventType::EFI_VARIABLE_DRIVER_CONFIG);
        let (in_four, in_five) = (self.parts.find(4, EventType::SEPARATOR), self.parts.find(5, EventType::SEPARATOR));
        let first = self.parts.find(0, EventType::S_CRTM_VERSION);
        let last = self.parts.events.len();
        let extra = || EventParts::measured(4, EventType::EFI_ACTION, b"one more", b"one more");
        let move_behind = |parts: &mut LogParts, from: usize, to: usize| {
            let event = parts.events.remove(from - 1);
            parts.events.insert(to - 1, event);
        };
        vec![
            self.refuse("event-dropped", "AR-E506", "without the event that says whether Secure Boot is on", |log| {
                log.events.remove(secure_boot - 1);
            }),
            self.refuse("first-event-dropped", "AR-E506", "without the first event of PCR 0", |log| {
                log.events.remove(first - 1);
            }),
            self.refuse("pcr-dropped", "AR-E506", "without all events of PCR 2", |log| {
                log.events.retain(|event| event.pcr != 2);
            }),
            self.refuse(
                "pcr-8-dropped",
                "AR-E508",
                "without all events of PCR 8: nothing contradicts the quote, and nothing \
                         says what was measured there",
                |log| log.events.retain(|event| event.pcr != 8),
            ),
            self.refuse("events-swapped", "AR-E506", "the first two events of PCR 0 change places", |log| {
                let next = log.events.iter().skip(first).position(|event| event.pcr == 0).unwrap();
                log.events.swap(first - 1, first + next);
            }),
            self.refuse("event-moved-to-the-end", "AR-E506", "the Secure Boot event is behind its separator", |log| {
                move_behind(log, secure_boot, last);
            }),
            self.accept(
                "event-moved-among-others",
                "a separator moves among events of other PCRs: their order is in no PCR",
                |log| {
                    move_behind(log, in_four, in_five);
                },
            ),
            self.refuse("event-to-another-pcr", "AR-E506", "a separator of PCR 2 is said to be of PCR 6", |log| {
                log.event(separator).pcr = 6;
            }),
            self.refuse(
                "event-to-pcr-16",
                "AR-E506",
                "the Secure Boot event is said to be of PCR 16, which is not quoted",
                |log| {
                    log.event(secure_boot).pcr = 16;
                },
            ),
            self.refuse("event-to-pcr-24", "AR-E504", "the Secure Boot event is said to be of PCR 24", |log| {
                log.event(secure_boot).pcr = 24;
            })
            .clause("PC Client Platform TPM Profile §4.6"),
            self.refuse("event-to-no-pcr", "AR-E504", "the Secure Boot event is said to be of PCR 0xffffffff", |log| {
                log.event(secure_boot).pcr = u32::MAX;
            }),
            self.refuse("event-doubled", "AR-E506", "the Secure Boot event twice", |log| {
                let event = log.event(secure_boot).clone();
                log.events.insert(secure_boot, event);
            }),
            self.refuse("event-added", "AR-E506", "an event of PCR 4 at the end", |log| log.events.push(extra())),
            self.accept("event-added-to-pcr-16", "an event of PCR 16, which is not quoted: it is no fact", |log| {
                log.events.push(EventParts { pcr: 16, ..extra() });
            }),
            self.refuse(
                "event-added-in-sha1",
                "AR-E507",
                "an event of PCR 4 that has a SHA-1 digest alone: the quoted bank \
                         does not know it",
                |log| log.events.push(extra().with_only(SHA1)),
            ),
            self.refuse("event-added-without-digests", "AR-E507", "an event of PCR 4 without digests", |log| {
                log.events.push(EventParts { digests: Vec::new(), ..extra() });
            }),
            self.refuse("sha256-dropped", "AR-E506", "the Secure Boot event has its SHA-1 digest alone", |log| {
                log.event(secure_boot).digests.retain(|(id, _)| *id == SHA1);
            }),
            self.refuse("digest-changed", "AR-E506", "a bit of the Secure Boot event's digest", |log| {
                log.event(secure_boot).sha256()[0] ^= 1;
            }),
            self.accept(
                "sha1-digest-changed",
                "a bit of a SHA-1 digest, and SHA-256 is quoted: that digest is no fact",
                |log| {
                    let digest = log.event(secure_boot).digests.iter_mut().find(|(id, _)| *id == SHA1).unwrap();
                    digest.1[0] ^= 1;
                },
            ),
            self.refuse("data-and-digest-changed", "AR-E506", "other data, and their digests", |log| {
                let event = log.event(secure_boot);
                let data = [event.data.as_slice(), &[1]].concat();
                *event = EventParts::measured(7, event.kind, &data, &data);
            }),
            self.refuse("event-as-no-action", "AR-E506", "the Secure Boot event is said to be EV_NO_ACTION", |log| {
                log.event(secure_boot).kind = EventType::NO_ACTION;
            }),
        ]
    }

    /// What no digest covers: the log still leads to the quoted values, and the data are no fact any more.
    fn data(&self) -> Vec<Case> {
        let secure_boot = self.parts.find(7, EventType::EFI_VARIABLE_DRIVER_CONFIG);
        let separator = self.parts.find(3, EventType::SEPARATOR);
        let unmeasured =
            |numbers: Vec<usize>| move |facts: &mut Facts| facts.measured.retain(|number| !numbers.contains(number));
        vec![
            self.accept("data-changed", "the last bit of the Secure Boot event's data", |log| {
                *log.event(secure_boot).data.last_mut().unwrap() ^= 1;
            })
            .facts(unmeasured(vec![secure_boot])),
            self.accept("data-cut", "the Secure Boot event's data without the last byte", |log| {
                log.event(secure_boot).data.pop();
            })
            .facts(unmeasured(vec![secure_boot])),
            self.accept("data-longer", "a byte behind the Secure Boot event's data", |log| {
                log.event(secure_boot).data.push(0);
            })
            .facts(unmeasured(vec![secure_boot])),
            self.accept("data-dropped", "the Secure Boot event without data", |log| {
                log.event(secure_boot).data.clear()
            })
            .facts(unmeasured(vec![secure_boot])),
            self.accept("data-swapped", "two events change their data, not their digests", |log| {
                let data = log.event(secure_boot).data.clone();
                let other = std::mem::replace(&mut log.event(separator).data, data);
                log.event(secure_boot).data = other;
            })
            .facts(unmeasured(vec![secure_boot, separator])),
            self.accept(
                "type-changed",
                "the Secure Boot event is said to be EV_IPL. Its data are what was measured, whatever \
                         they are called",
                |log| log.event(secure_boot).kind = EventType::IPL,
            )
            .clause("PC Client Platform Firmware Profile §10.4.1"),
            self.accept("type-unknown", "a separator of a type that does not exist", |log| {
                log.event(separator).kind = EventType(0x1234_5678);
            }),
        ]
    }

    /// Counts, sizes and algorithms of events.
    fn forms(&self) -> Vec<Case> {
        let secure_boot = self.parts.find(7, EventType::EFI_VARIABLE_DRIVER_CONFIG);
        let count =
            |name, what, count| self.refuse(name, "AR-E501", what, |log| log.event(secure_boot).count = Some(count));
        let size =
            |name, what, size| self.refuse(name, "AR-E501", what, |log| log.event(secure_boot).size = Some(size));
        vec![
            count("count-2-31", "an event of 2^31 digests", 1 << 31),
            count("count-2-32", "an event of 2^32 - 1 digests", u32::MAX),
            count("count-3", "an event of 3 digests, and the log has two algorithms", 3),
            size("size-2-31", "an event of 2^31 bytes", 1 << 31),
            size("size-2-32", "an event of 2^32 - 1 bytes", u32::MAX),
            size("size-1-mib", "an event of more than a mebibyte", (1 << 20) + 1),
            self.refuse("digest-twice", "AR-E503", "an event with two SHA-256 digests, the right one last", |log| {
                let event = log.event(secure_boot);
                event.digests = vec![(SHA256, vec![0; 32]), (SHA256, event.sha256().clone())];
            }),
            self.refuse(
                "digest-unlisted",
                "AR-E503",
                "an event with a digest of an algorithm that the header does not list",
                |log| {
                    log.event(secure_boot).digests[0] = (SHA3_256, vec![0; 32]);
                },
            ),
            self.refuse(
                "event-of-zeros-behind-the-padding",
                "AR-E507",
                "zeros, and an event behind them: they are no padding",
                |log| {
                    let zeros = EventParts {
                        pcr: 0,
                        kind: EventType(0),
                        count: None,
                        digests: Vec::new(),
                        size: None,
                        data: Vec::new(),
                    };
                    log.events.push(zeros);
                    log.events.push(EventParts::measured(16, EventType::IPL, b"hidden", b"hidden"));
                },
            ),
        ]
    }

    fn headers(&self) -> Vec<Case> {
        let clause = "PC Client Platform Firmware Profile §10.4.5.1";
        let header =
            |name, what, change: &dyn Fn(&mut LogParts)| self.refuse(name, "AR-E501", what, change).clause(clause);
        vec![
            header("algorithm-twice", "the header lists SHA-256 twice", &|log| {
                log.header.algorithms.push((SHA256, 32))
            }),
            header("algorithm-of-another-size", "SHA-256 digests are said to have 20 bytes", &|log| {
                log.header.algorithms[1].1 = 20;
            }),
            header("algorithm-of-65535-bytes", "an algorithm that is not known, with digests of 65535 bytes", &|log| {
                log.header.algorithms.push((SHA3_256, u16::MAX));
            }),
            header("algorithms-0", "the header lists no algorithm", &|log| log.header.algorithms.clear()),
            header("algorithms-2-32", "the header lists 2^32 - 1 algorithms", &|log| log.header.count = Some(u32::MAX)),
            header("algorithm-dropped", "the header lists SHA-1 alone; the events have two digests", &|log| {
                log.header.algorithms.truncate(1);
            }),
            self.bytes("header-and-a-byte", "AR-E501", "a byte in the header behind its end", {
                let header = self.parts.header.bytes();
                let mut longer = [header.as_slice(), &[0]].concat();
                longer[28..32].copy_from_slice(&u32::try_from(header.len() - 31).unwrap().to_le_bytes());
                [longer, self.changed(|_| {})[header.len()..].to_vec()].concat()
            }),
        ]
    }

    /// What is done to the whole of it.
    fn whole(&self) -> Vec<Case> {
        let bytes = self.parts.bytes();
        let behind = |tail: &[u8]| [bytes.as_slice(), tail].concat();
        let padded = |name: &str, what: &str, byte| {
            self.made.case.accept(&format!("{}-{name}", self.prefix), what).with(LOG, behind(&[byte; 64]))
        };
        let header = self.parts.header.bytes();
        // The short log begins with its locality, which may be said once; read as one of SHA-1, its next PCR is none.
        let (twice, headless) = match self.prefix {
            "short" => ("AR-E505", "AR-E504"),
            _ => ("AR-E506", "AR-E501"),
        };
        vec![
            self.bytes("empty", "AR-E501", "nothing", Vec::new()),
            self.bytes("zeros", "AR-E501", "zeros: the memory that was reserved, and no log in it", vec![0; 512]),
            self.bytes("header-alone", "AR-E506", "the header alone", header.clone()),
            self.bytes("no-header", headless, "without the header", bytes[header.len()..].to_vec()),
            self.bytes("junk-behind", "AR-E501", "eleven bytes behind the last event", behind(b"other bytes")),
            padded("zeros-behind", "64 zeros behind the last event: the rest of the memory that was reserved", 0),
            padded("ones-behind", "64 bytes of ones behind the last event", 0xff),
            self.bytes("twice", twice, "all events twice", [bytes.as_slice(), &bytes[header.len()..]].concat()),
            self.bytes("of-another-machine", "AR-E506", "the log of another machine", {
                LogParts::of(&read("eventlogs/gce-and-pc/glinux-alex.bin")).bytes()
            }),
            self.bytes(
                "of-sha1-alone",
                "AR-E506",
                "a log of the SHA-1 format, with the same SHA-1 digests",
                self.of_sha1(),
            ),
        ]
    }

    /// `TCG_PCR_EVENT`s.
    fn of_sha1(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for event in self.parts.events.iter().filter(|event| event.kind != EventType::NO_ACTION) {
            let (_, digest) = event.digests.iter().find(|(id, _)| *id == SHA1).unwrap();
            out.extend(event.pcr.to_le_bytes());
            out.extend(event.kind.0.to_le_bytes());
            out.extend(digest);
            out.extend(u32::try_from(event.data.len()).unwrap().to_le_bytes());
            out.extend(&event.data);
        }
        out
    }

    /// Of a TPM that was started from locality 3: PCR 0 began with 3.
    fn localities(&self) -> Vec<Case> {
        let clause = "PC Client Platform Firmware Profile §10.4.5.3";
        let case = |name, code, what, change: &dyn Fn(&mut LogParts)| {
            self.refuse(&format!("locality-{name}"), code, what, change).clause(clause)
        };
        let said = |name, code, what, locality: &'static [u8]| {
            case(name, code, what, &move |log| {
                let data = &mut log.event(1).data;
                data.pop();
                data.extend(locality);
            })
        };
        vec![
            said("0", "AR-E506", "the log says that the TPM was started from locality 0", &[0]),
            said("4", "AR-E506", "from locality 4", &[4]),
            said("1", "AR-E505", "from locality 1, from which none is started", &[1]),
            said("2", "AR-E505", "from locality 2", &[2]),
            said("5", "AR-E505", "from locality 5, which does not exist", &[5]),
            said("255", "AR-E505", "from locality 255", &[255]),
            said("of-no-byte", "AR-E505", "without the locality", &[]),
            said("of-two-bytes", "AR-E505", "in two bytes", &[3, 0]),
            case("missing", "AR-E506", "it does not say from which locality the TPM was started", &|log| {
                log.events.remove(0);
            }),
            case("twice", "AR-E505", "it says so twice, the same", &|log| {
                let event = log.event(1).clone();
                log.events.insert(1, event);
            }),
            case("twice-otherwise", "AR-E505", "it says so twice: 0, then 3", &|log| {
                log.events.insert(0, EventParts::locality(0));
            }),
            case("late", "AR-E505", "it says so behind the first event of PCR 0", &|log| log.events.swap(0, 1)),
            case("at-the-end", "AR-E505", "it says so at the end", &|log| log.events.rotate_left(1)),
            case("of-pcr-1", "AR-E506", "it says so of PCR 1", &|log| log.event(1).pcr = 1),
            case("as-separator", "AR-E506", "the event that says so is a separator", &|log| {
                log.event(1).kind = EventType::SEPARATOR;
            }),
            case(
                "by-hcrtm",
                "AR-E506",
                "no event says so; the first one is said to be measured from locality 4",
                &|log| {
                    log.events.remove(0);
                    log.event(1).kind = EventType::EFI_HCRTM_EVENT;
                },
            ),
        ]
    }

    /// Of a TPM that was started from locality 0, and its log says nothing of it.
    fn false_localities(&self) -> Vec<Case> {
        let case = |name: &str, what, locality| {
            self.refuse(&format!("locality-{name}"), "AR-E506", what, |log| {
                log.events.insert(0, EventParts::locality(locality));
            })
        };
        let right =
            self.accept("locality-0", "an event in front says that the TPM was started from locality 0", |log| {
                log.events.insert(0, EventParts::locality(0));
            });
        vec![
            case("3", "an event in front says that the TPM was started from locality 3", 3),
            case("4", "an event in front says that the TPM was started from locality 4", 4),
            right.facts(|facts| facts.measured.iter_mut().for_each(|number| *number += 1)),
        ]
    }
}
