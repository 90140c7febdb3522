//! One rule, taken apart: what it is about, and each thing that it asks for, so that a no can say which of them failed.

use super::evidence::is_false_without_evidence;
use super::groups::Groups;
use super::question::{CiJob, Prepared, Question, uid};
use attest_evidence::exchange::Undeclared;
use cedar_policy::pst::{
    ActionConstraint, BinaryOp, Clause, Effect, EntityOrSlot, EntityUID, Expr, Literal, PatternElem, Policy as Tree,
    PrincipalConstraint, ResourceConstraint, UnaryOp, Var,
};
use cedar_policy::{Entities, EntityUid, EvalResult, Expression, eval_expression};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most leases that a rule may give a component in one job.
const MOST_LEASES: u32 = 1000;

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// Its `@id`, or `policyN`.
    pub(super) id: String,
    /// Where it begins, counted from 1.
    pub(super) line: Option<usize>,
    pub(super) permits: bool,
    /// The policy itself, to be evaluated as a whole.
    pub(super) policy: cedar_policy::Policy,
    pub(super) actions: Option<BTreeSet<String>>,
    pub(super) scope: Scope,
    /// Who it is for, then what else it asks for: the parts of an `&&`.
    pub(super) conditions: Vec<Condition>,
    /// How many leases it lets a component have in one job: `@leases("N")`.
    pub(super) leases: u32,
    /// What happens if the step writes what looks like a secret that nobody declared: `@undeclared("block")`.
    pub(super) undeclared: Undeclared,
}

/// Which resources a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// All, or all of a kind.
    Any(Option<String>),
    /// This one.
    One(EntityUid),
    /// All in this, or all of a kind in it.
    In(EntityUid, Option<String>),
}

/// One thing that a rule asks for.
#[derive(Debug)]
pub(super) struct Condition {
    /// As Cedar.
    pub(super) text: String,
    expression: Expression,
    tree: Option<Arc<Expr>>,
    /// The attributes that it looks at, below `context`.
    pub(super) reads: Vec<Vec<String>>,
    /// What it wants of the first of them, where that can be said in a word.
    wanted: Option<String>,
    /// The constraint on the principal that it is, if it is one.
    pub(super) principal: Option<EntityUid>,
}

/// A condition, tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    pub(super) held: bool,
    /// What it looks at: an attribute's name without `context.measured`, or its text.
    pub(super) what: String,
    pub(super) wanted: String,
    pub(super) got: String,
}

impl Rule {
    /// Takes a rule apart that fits the schema.
    ///
    /// # Errors
    /// What can't be taken apart, in words.
    pub(super) fn of(policy: &cedar_policy::Policy, text: &str) -> Result<Self, String> {
        let Tree::Static(tree) = policy.to_pst().map_err(|error| error.to_string())? else {
            return Err("it is made of a template".to_owned());
        };
        let tree = tree.body();
        let mut conditions = Vec::new();
        conditions.extend(Condition::principal(&tree.principal)?);
        for clause in tree.clauses() {
            match clause {
                Clause::When(expression) => split(expression, BinaryOp::And, false, &mut conditions)?,
                Clause::Unless(expression) => split(expression, BinaryOp::Or, true, &mut conditions)?,
            }
        }
        let actions = match &tree.action {
            ActionConstraint::Any => None,
            ActionConstraint::Eq(action) => Some(BTreeSet::from([action.eid.to_string()])),
            ActionConstraint::In(actions) => Some(actions.iter().map(|action| action.eid.to_string()).collect()),
        };
        let scope = match &tree.resource {
            ResourceConstraint::Any => Scope::Any(None),
            ResourceConstraint::Is(kind) => Scope::Any(Some(kind.to_string())),
            ResourceConstraint::Eq(one) => Scope::One(entity(one)?),
            ResourceConstraint::In(one) => Scope::In(entity(one)?, None),
            ResourceConstraint::IsIn(kind, one) => Scope::In(entity(one)?, Some(kind.to_string())),
        };
        if let Some((other, _)) = policy.annotations().find(|(name, _)| !["id", "leases", "undeclared"].contains(name))
        {
            return Err(format!("it has an annotation `@{other}`, and there are `@id`, `@leases` and `@undeclared`"));
        }
        let leases = match policy.annotation("leases") {
            None => 1,
            Some(number) => number
                .parse()
                .ok()
                .filter(|number| (1..=MOST_LEASES).contains(number))
                .ok_or_else(|| format!("`@leases` takes a number from 1 to {MOST_LEASES}"))?,
        };
        let undeclared = match policy.annotation("undeclared") {
            None | Some("report") => Undeclared::Report,
            Some("block") => Undeclared::Block,
            Some(_) => return Err("`@undeclared` takes `report` or `block`".to_owned()),
        };
        let line = Self::line_in(policy, text);
        Ok(Self {
            id: policy.id().to_string(),
            line,
            permits: tree.effect == Effect::Permit,
            policy: policy.clone(),
            actions,
            scope,
            conditions,
            leases,
            undeclared,
        })
    }

    /// The line of the policy's text where a rule begins.
    pub(super) fn line_in(policy: &cedar_policy::Policy, text: &str) -> Option<usize> {
        line_of(text, &policy.to_cedar()?)
    }

    /// Whether it is about what is asked: the action, and the resource.
    pub(super) fn is_about(&self, question: &Question, prepared: &Prepared) -> bool {
        let kind = question.ask.kind.entity();
        let of_kind = |wanted: &Option<String>| wanted.as_deref().is_none_or(|wanted| wanted == kind);
        self.actions.as_ref().is_none_or(|actions| actions.contains(question.ask.action.as_str()))
            && match &self.scope {
                Scope::Any(wanted) => of_kind(wanted),
                Scope::One(one) => prepared.resource.first() == Some(one),
                Scope::In(one, wanted) => of_kind(wanted) && prepared.resource.contains(one),
            }
    }

    /// Tries each thing that it asks for.
    pub(super) fn try_conditions(&self, question: &Question, prepared: &Prepared) -> Vec<Tried> {
        self.conditions.iter().map(|condition| condition.try_with(question, prepared)).collect()
    }

    /// Whether it asks that an attribute be exactly this: `path == value`, or that a list with it contains `path`.
    pub(super) fn names(&self, path: &[&str], value: &str) -> bool {
        self.conditions.iter().any(|condition| condition.allows_only(path).is_some_and(|all| all.contains(value)))
    }

    /// Whether it says in so many words that a flag be down.
    pub(super) fn denies(&self, path: &[&str]) -> bool {
        self.conditions.iter().any(|condition| condition.flag(path) == Some(false))
    }

    /// Whether it looks at an attribute.
    pub(super) fn reads(&self, path: &[&str]) -> bool {
        self.conditions.iter().any(|condition| condition.reads.iter().any(|read| read == path))
    }

    /// The repositories by whose ids it knows them, if it is for some alone.
    pub(super) fn repositories(&self) -> Option<BTreeSet<String>> {
        self.conditions.iter().find_map(|condition| {
            let principal = condition.principal.as_ref().filter(|uid| uid.type_name().basename() == "Repository");
            let of_principal =
                principal.and_then(|uid| Some(BTreeSet::from([uid.id().unescaped().split_once('#')?.1.to_owned()])));
            of_principal.or_else(|| condition.allows_only(&["measured", "job", "repository_id"]))
        })
    }

    fn principals(&self) -> impl Iterator<Item = &EntityUid> {
        self.conditions.iter().filter_map(|condition| condition.principal.as_ref())
    }

    pub(super) fn allows_only(&self, path: &[&str]) -> Option<BTreeSet<String>> {
        self.conditions.iter().find_map(|condition| condition.allows_only(path))
    }

    /// Whether it says whose jobs it is for, by id and issuer: ids are an issuer's own.
    pub(super) fn knows_whose_job(&self) -> bool {
        let whose = ["Repository", "RepositoryGroup", "Owner", "Job"];
        // One issuer: of several, each could have the ids that are meant for another.
        let by_claims = self.allows_only(&["measured", "job", "issuer"]).is_some_and(|issuers| issuers.len() == 1)
            && (self.allows_only(&["measured", "job", "repository_id"]).is_some()
                || self.allows_only(&["measured", "job", "owner_id"]).is_some());
        by_claims || self.principals().any(|uid| whose.contains(&uid.type_name().basename()))
    }

    /// Whether it is for the repository of this job, by name, and so may be told to that job.
    /// Not to jobs of strangers, who would learn what they have to imitate.
    pub(super) fn is_of_repository(&self, job: &CiJob) -> bool {
        if job.is_of_strangers() {
            return false;
        }
        let own = format!("{}#{}", job.issuer, job.repository_id);
        let by_principal =
            self.principals().any(|uid| uid.type_name().basename() == "Repository" && uid.id().unescaped() == own);
        let names =
            |what, value: &String| self.allows_only(&["measured", "job", what]).is_some_and(|all| all.contains(value));
        by_principal || (names("issuer", &job.issuer) && names("repository_id", &job.repository_id))
    }

    /// Whether it says in so many words that there be no CI job.
    pub(super) fn is_for_no_job(&self) -> bool {
        self.conditions.iter().any(|condition| match condition.tree.as_deref() {
            Some(Expr::UnaryOp { op: UnaryOp::Not, expr }) => match &**expr {
                Expr::HasAttr { expr, attrs } => {
                    is_path(expr, &["measured"]) && attrs.len() == 1 && attrs.first() == "job"
                }
                _ => false,
            },
            _ => false,
        })
    }

    /// Where it stands, for people.
    pub(super) fn place(&self) -> String {
        self.line.map_or_else(|| self.id.clone(), |line| format!("{} (line {line})", self.id))
    }

    /// Every entity that is named in it.
    pub(super) fn entities(&self) -> Vec<EntityUid> {
        self.policy.entity_literals()
    }
}

/// The line where a rule begins, counted from 1; a copy of it in a comment is none.
fn line_of(text: &str, source: &str) -> Option<usize> {
    let before = |at: usize| text.get(..at).unwrap_or_default();
    let commented = |at: usize| before(at).rsplit('\n').next().unwrap_or_default().contains("//");
    let at = text.match_indices(source).map(|(at, _)| at).find(|at| !commented(*at))?;
    Some(before(at).matches('\n').count() + 1)
}

fn entity(one: &EntityOrSlot) -> Result<EntityUid, String> {
    match one {
        EntityOrSlot::Entity(entity) => named(entity),
        _ => Err("it is made of a template".to_owned()),
    }
}

fn named(entity: &EntityUID) -> Result<EntityUid, String> {
    uid(&entity.ty.to_string(), entity.eid.as_str())
}

/// The parts of an `&&`, or, denied, of an `||`: each has to hold by itself.
fn split(expression: &Arc<Expr>, by: BinaryOp, denied: bool, into: &mut Vec<Condition>) -> Result<(), String> {
    match &**expression {
        Expr::BinaryOp { op, left, right } if *op == by => {
            split(left, by, denied, into)?;
            split(right, by, denied, into)
        }
        Expr::UnaryOp { op: UnaryOp::Not, expr } => {
            split(expr, if denied { BinaryOp::And } else { BinaryOp::Or }, !denied, into)
        }
        _ if denied => {
            let expr = Arc::new(Expr::UnaryOp { op: UnaryOp::Not, expr: Arc::clone(expression) });
            into.push(Condition::of(expr)?);
            Ok(())
        }
        _ => {
            into.push(Condition::of(Arc::clone(expression))?);
            Ok(())
        }
    }
}

impl Condition {
    fn of(tree: Arc<Expr>) -> Result<Self, String> {
        let text = tree.to_string();
        let expression: Expression = text.parse().map_err(|error: cedar_policy::ParseErrors| error.to_string())?;
        let mut reads = Vec::new();
        collect_reads(&tree, &mut reads);
        let wanted = wanted(&tree);
        // `principal in …` may stand in a condition as well.
        let principal = match &*tree {
            Expr::BinaryOp { op: BinaryOp::In | BinaryOp::Eq, left, right } => match (&**left, &**right) {
                (Expr::Var(Var::Principal), Expr::Literal(Literal::EntityUID(of))) => Some(named(of)?),
                _ => None,
            },
            _ => None,
        };
        Ok(Self { text, expression, tree: Some(tree), reads, wanted, principal })
    }

    fn principal(constraint: &PrincipalConstraint) -> Result<Option<Self>, String> {
        let of = match constraint {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => return Ok(None),
            PrincipalConstraint::Eq(one) | PrincipalConstraint::In(one) | PrincipalConstraint::IsIn(_, one) => {
                entity(one)?
            }
        };
        let text = constraint.to_string();
        let text = if text.starts_with("principal") { text } else { format!("principal {text}") };
        let expression: Expression = text.parse().map_err(|error: cedar_policy::ParseErrors| error.to_string())?;
        Ok(Some(Self { text, expression, tree: None, reads: Vec::new(), wanted: None, principal: Some(of) }))
    }

    /// Whether it is false for somebody who proves nothing, whatever is claimed.
    pub(super) fn is_false_without_evidence(&self) -> bool {
        match (&self.tree, &self.principal) {
            (Some(tree), _) => is_false_without_evidence(tree),
            // A constraint on the principal: it is in the stage that it asks of, and in nothing else.
            (None, Some(of)) => of.type_name().basename() != "Stage",
            (None, None) => false,
        }
    }

    /// Whether it holds. What can't be evaluated, since something is not there, does not.
    pub(super) fn holds(&self, request: &cedar_policy::Request, entities: &Entities) -> bool {
        matches!(eval_expression(request, entities, &self.expression), Ok(EvalResult::Bool(true)))
    }

    fn try_with(&self, question: &Question, prepared: &Prepared) -> Tried {
        let held = self.holds(&prepared.request, &prepared.entities);
        if let Some(wanted) = &self.principal {
            let kind = wanted.type_name().basename();
            let own = prepared.principal.iter().filter(|uid| uid.type_name().basename() == kind);
            let own: Vec<_> = own.map(|uid| uid.id().unescaped().to_owned()).collect();
            let got = if own.is_empty() { "none".to_owned() } else { own.join(", ") };
            return Tried { held, what: kind.to_lowercase(), wanted: wanted.id().unescaped().to_owned(), got };
        }
        let value = |path: &Vec<String>| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            question.value(&path)
        };
        let name = |path: &Vec<String>| path.iter().skip(1).map(String::as_str).collect::<Vec<_>>().join(".");
        match (&self.wanted, self.reads.as_slice()) {
            (Some(wanted), [path, ..]) => Tried {
                held,
                what: if path.len() > 1 { name(path) } else { path.concat() },
                wanted: wanted.clone(),
                got: value(path).map_or_else(|| "nothing".to_owned(), quoted),
            },
            (_, reads) => {
                let got = reads.iter().map(|path| {
                    format!(
                        "{} {}",
                        name(path),
                        value(path).map_or_else(|| "is not there".to_owned(), |value| format!("is {}", quoted(value)))
                    )
                });
                Tried {
                    held,
                    what: "condition".to_owned(),
                    wanted: self.text.clone(),
                    got: got.collect::<Vec<_>>().join(", "),
                }
            }
        }
    }

    /// The values that it allows an attribute to have, if it names them all.
    pub(super) fn allows_only(&self, path: &[&str]) -> Option<BTreeSet<String>> {
        let text = |expression: &Expr| match expression {
            Expr::Literal(Literal::String(text)) => Some(text.to_string()),
            _ => None,
        };
        match self.tree.as_deref()? {
            Expr::BinaryOp { op: BinaryOp::Eq, left, right } => {
                let (attribute, value) = if is_path(left, path) { (left, right) } else { (right, left) };
                is_path(attribute, path).then(|| text(value))?.map(|value| BTreeSet::from([value]))
            }
            Expr::BinaryOp { op: BinaryOp::Contains, left, right } if is_path(right, path) => match &**left {
                Expr::Set(values) => values.iter().map(|value| text(value)).collect(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it asks that a flag be up, or down.
    pub(super) fn flag(&self, path: &[&str]) -> Option<bool> {
        match self.tree.as_deref()? {
            tree if is_path(tree, path) => Some(true),
            Expr::UnaryOp { op: UnaryOp::Not, expr } if is_path(expr, path) => Some(false),
            Expr::BinaryOp { op: BinaryOp::Eq, left, right } => match (&**left, &**right) {
                (attribute, Expr::Literal(Literal::Bool(value))) | (Expr::Literal(Literal::Bool(value)), attribute) => {
                    is_path(attribute, path).then_some(*value)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a constant entity stands where only what is asked about may: `Runner::"a" in RunnerGroup::"b"`.
    pub(super) fn asks_about_constants(&self) -> bool {
        fn looks(expression: &Expr) -> bool {
            let constant = |expression: &Expr| matches!(expression, Expr::Literal(Literal::EntityUID(_)));
            match expression {
                Expr::BinaryOp { op, left, right } => {
                    (*op == BinaryOp::In && constant(left)) || looks(left) || looks(right)
                }
                Expr::UnaryOp { expr, .. } => looks(expr),
                Expr::GetAttr { expr, .. } | Expr::HasAttr { expr, .. } | Expr::Like { expr, .. } => {
                    constant(expr) || looks(expr)
                }
                Expr::Is { expr, in_expr, .. } => {
                    constant(expr) || in_expr.as_deref().is_some_and(looks) || looks(expr)
                }
                Expr::IfThenElse { cond, then_expr, else_expr } => looks(cond) || looks(then_expr) || looks(else_expr),
                Expr::Set(values) => values.iter().any(|value| looks(value)),
                Expr::Record(fields) => fields.values().any(|value| looks(value)),
                _ => false,
            }
        }
        self.tree.as_deref().is_some_and(looks)
    }
}

fn quoted(value: String) -> String {
    if value.is_empty() { "nothing".to_owned() } else { format!("`{value}`") }
}

/// The path below `context` that an expression is.
pub(super) fn path(expression: &Expr) -> Option<Vec<String>> {
    match expression {
        Expr::Var(Var::Context) => Some(Vec::new()),
        Expr::GetAttr { expr, attr } => {
            let mut path = path(expr)?;
            path.push(attr.to_string());
            Some(path)
        }
        _ => None,
    }
}

fn is_path(expression: &Expr, wanted: &[&str]) -> bool {
    path(expression).is_some_and(|path| path == wanted)
}

fn collect_reads(expression: &Expr, into: &mut Vec<Vec<String>>) {
    let mut add = |path: Vec<String>| {
        if !path.is_empty() && !into.contains(&path) {
            into.push(path);
        }
    };
    match expression {
        Expr::GetAttr { expr, .. } => match path(expression) {
            Some(path) => add(path),
            None => collect_reads(expr, into),
        },
        Expr::HasAttr { expr, attrs } => match path(expr) {
            Some(mut path) => {
                path.extend(attrs.iter().map(ToString::to_string));
                add(path);
            }
            None => collect_reads(expr, into),
        },
        Expr::BinaryOp { left, right, .. } => {
            collect_reads(left, into);
            collect_reads(right, into);
        }
        Expr::UnaryOp { expr, .. } | Expr::Like { expr, .. } | Expr::Is { expr, .. } => collect_reads(expr, into),
        Expr::IfThenElse { cond, then_expr, else_expr } => {
            [cond, then_expr, else_expr].into_iter().for_each(|part| collect_reads(part, into));
        }
        Expr::Set(values) => values.iter().for_each(|value| collect_reads(value, into)),
        Expr::Record(fields) => fields.values().for_each(|value| collect_reads(value, into)),
        _ => {}
    }
}

/// What a condition wants of the one attribute that it looks at, in words.
fn wanted(expression: &Expr) -> Option<String> {
    let literal = |expression: &Expr| match expression {
        Expr::Literal(Literal::String(text)) => Some(format!("`{text}`")),
        Expr::Literal(Literal::Bool(value)) => Some(value.to_string()),
        Expr::Literal(Literal::Long(value)) => Some(value.to_string()),
        _ => None,
    };
    let list = |expression: &Expr| match expression {
        Expr::Set(values) => {
            let values: Option<Vec<_>> = values.iter().map(|value| literal(value)).collect();
            values.map(|values| values.join(" or "))
        }
        other => literal(other),
    };
    match expression {
        Expr::GetAttr { .. } if path(expression).is_some() => Some("`true`".to_owned()),
        Expr::HasAttr { expr, .. } if path(expr).is_some() => Some("anything".to_owned()),
        Expr::BinaryOp { op: BinaryOp::Eq, left, right } => match (path(left), path(right)) {
            (Some(_), None) => literal(right),
            (None, Some(_)) => literal(left),
            _ => None,
        },
        Expr::BinaryOp { op: BinaryOp::Contains, left, right } => match (path(left), path(right)) {
            (None, Some(_)) => list(left),
            (Some(_), None) => literal(right).map(|value| format!("one of them {value}")),
            _ => None,
        },
        Expr::Like { expr, pattern } if path(expr).is_some() => {
            let text: String = pattern
                .iter()
                .map(|element| match element {
                    PatternElem::Char(character) => *character,
                    PatternElem::Wildcard => '*',
                })
                .collect();
            Some(format!("`{text}`"))
        }
        Expr::UnaryOp { op: UnaryOp::Not, expr } => match (&**expr, wanted(expr)) {
            (Expr::GetAttr { .. }, Some(_)) => Some("`false`".to_owned()),
            (_, Some(other)) => Some(format!("anything but {other}")),
            _ => None,
        },
        _ => None,
    }
}

/// Whether two rules are about the same, or the first about all that the second is.
pub(super) fn covers(wide: &Rule, narrow: &Rule, groups: &Groups) -> bool {
    let actions = match (&wide.actions, &narrow.actions) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => narrow.is_subset(wide),
    };
    let kind = |wide: &Option<String>, narrow: Option<&str>| wide.as_deref().is_none_or(|wide| narrow == Some(wide));
    let within = |one: &EntityUid, all: &EntityUid| {
        one == all
            || groups.of(one).contains(all)
            || (all.type_name().basename() == "Stage"
                && one.id().unescaped().split_once('/').is_some_and(|(stage, _)| stage == all.id().unescaped()))
    };
    let scope = match (&wide.scope, &narrow.scope) {
        (Scope::Any(wanted), Scope::Any(own) | Scope::In(_, own)) => kind(wanted, own.as_deref()),
        (Scope::Any(wanted), Scope::One(one)) => kind(wanted, Some(one.type_name().basename())),
        (Scope::One(all), Scope::One(one)) => one == all,
        (Scope::In(all, wanted), Scope::In(one, own)) => within(one, all) && kind(wanted, own.as_deref()),
        (Scope::In(all, wanted), Scope::One(one)) => within(one, all) && kind(wanted, Some(one.type_name().basename())),
        _ => false,
    };
    let asks = |condition: &Condition| narrow.conditions.iter().any(|own| own.text == condition.text);
    actions && scope && wide.conditions.iter().all(asks)
}
