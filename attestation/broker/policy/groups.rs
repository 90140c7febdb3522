//! Who belongs together: groups of runners, repositories, secrets and keys, in Cedar's own form for entities.
//!
//! ```json
//! [{ "uid": { "type": "Runner", "id": "builder-1" }, "attrs": {}, "parents": [{ "type": "RunnerGroup", "id": "release" }] }]
//! ```

use attest_evidence::report::with_causes;
use cedar_policy::{Entities, EntityUid};
use std::collections::{BTreeSet, HashMap};

/// Most bytes of a file of entities: tens of thousands of them.
pub const LONGEST_ENTITIES: usize = 8 * 1024 * 1024;

/// What may be put into groups, and groups into groups.
const GROUPED: [(&str, &str); 8] = [
    ("Runner", "RunnerGroup"),
    ("RunnerGroup", "RunnerGroup"),
    ("Repository", "RepositoryGroup"),
    ("RepositoryGroup", "RepositoryGroup"),
    ("Secret", "SecretGroup"),
    ("SecretGroup", "SecretGroup"),
    ("Key", "KeyGroup"),
    ("KeyGroup", "KeyGroup"),
];

/// Groups, each member with every group that it is in, directly or not.
#[derive(Debug, Default)]
pub(super) struct Groups {
    of: HashMap<EntityUid, Vec<EntityUid>>,
    names: BTreeSet<String>,
}

impl Groups {
    /// Reads a file of entities; nothing at all is no groups.
    ///
    /// # Errors
    /// What is wrong with it, in words: its form, a group that is in itself, entities that nobody groups.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        if text.len() > LONGEST_ENTITIES {
            return Err(format!("entities have at most {LONGEST_ENTITIES} bytes, these have {}", text.len()));
        }
        let schema = super::schema().map_err(ToString::to_string)?;
        // Closes over who is in what, and refuses circles.
        let entities = Entities::from_json_str(text, Some(schema)).map_err(|error| with_causes(&error))?;
        let mut groups = Self::default();
        for entity in entities.iter() {
            let uid = entity.uid();
            let kind = uid.type_name().basename().to_owned();
            if kind == "Action" {
                continue; // the schema's own
            }
            let Some((_, group)) = GROUPED.iter().find(|(member, _)| *member == kind) else {
                return Err(format!("{uid} can't be grouped: runners, repositories, secrets and keys can"));
            };
            super::names::check(&uid)?;
            let parents: Vec<_> = entities.ancestors(&uid).into_iter().flatten().cloned().collect();
            if let Some(other) = parents.iter().find(|parent| parent.type_name().basename() != *group) {
                return Err(format!("{uid} can't be in {other}: a {group} is wanted"));
            }
            groups.names.extend(parents.iter().map(ToString::to_string));
            if kind == *group {
                groups.names.insert(uid.to_string());
            }
            groups.of.insert(uid, parents);
        }
        Ok(groups)
    }

    /// The groups that something is in.
    pub(super) fn of(&self, uid: &EntityUid) -> &[EntityUid] {
        self.of.get(uid).map_or(&[], Vec::as_slice)
    }

    /// Whether there is such a group.
    pub(super) fn contains(&self, group: &EntityUid) -> bool {
        self.names.contains(&group.to_string())
    }

    /// How many entities there are.
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(uid: (&str, &str), parents: &[(&str, &str)]) -> serde_json::Value {
        let name = |(kind, id): &(&str, &str)| serde_json::json!({ "type": kind, "id": id });
        serde_json::json!({ "uid": name(&uid), "attrs": {}, "parents": parents.iter().map(name).collect::<Vec<_>>() })
    }

    fn parse(entities: &[serde_json::Value]) -> Result<Groups, String> {
        Groups::parse(&serde_json::Value::from(entities).to_string())
    }

    #[test]
    fn groups_in_groups_are_closed_over_and_circles_refused() {
        let chain = [
            entity(("Runner", "r"), &[("RunnerGroup", "a")]),
            entity(("RunnerGroup", "a"), &[("RunnerGroup", "b")]),
            entity(("RunnerGroup", "b"), &[]),
        ];
        let groups = parse(&chain).unwrap();
        assert_eq!(groups.of(&super::super::question::uid("Runner", "r").unwrap()).len(), 2);
        assert!(groups.contains(&super::super::question::uid("RunnerGroup", "b").unwrap()));
        let circle = [chain[0].clone(), chain[1].clone(), entity(("RunnerGroup", "b"), &[("RunnerGroup", "a")])];
        assert!(parse(&circle).unwrap_err().contains("cycle"), "{:?}", parse(&circle));
    }

    #[test]
    fn only_what_can_be_grouped_is_and_by_its_kind() {
        for (entity, reason) in [
            (entity(("Secret", "dev/x"), &[("Stage", "prod")]), "can't be in Stage"),
            (entity(("Step", "00"), &[("Stage", "prod")]), "can't be grouped"),
            (entity(("Secret", "x"), &[("SecretGroup", "g")]), "STAGE/NAME"),
            (entity(("Runner", "R"), &[("RunnerGroup", "g")]), "runner name"),
            (entity(("Runner", "r"), &[("SecretGroup", "g")]), "not allowed"),
            (entity(("Runer", "r"), &[]), "Runer"),
        ] {
            let refused = parse(&[entity]).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
        assert!(Groups::parse("{").is_err());
        assert!(Groups::parse(&" x".repeat(LONGEST_ENTITIES)).is_err());
        assert_eq!(Groups::parse("").unwrap().len(), 0);
    }
}
