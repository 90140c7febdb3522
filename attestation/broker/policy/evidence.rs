//! Whether a rule could allow somebody who proves nothing.
//!
//! A rule is evaluated with three truth values. What was measured is empty, and there is no job: that is known. What the
//! asker chooses is not: claims, arguments, manifest, formats, which resource of the rule's scope it is. A rule that is
//! not definitely false then would allow somebody without evidence. Whatever this evaluation does not understand is
//! unknown, so that it errs to the safe side.

use cedar_policy::pst::{BinaryOp, Expr, Literal, PatternElem, UnaryOp, Var};

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Bool(bool),
    Text(String),
    Set(Vec<Value>),
    /// The asker's choice, or not understood.
    Unknown,
    /// It can't be evaluated: Cedar takes such a rule for one that does not apply.
    Error,
}

/// Whether an expression is false, whatever the asker chooses.
pub(super) fn is_false_without_evidence(expression: &Expr) -> bool {
    never(&evaluate(expression))
}

fn never(value: &Value) -> bool {
    matches!(value, Value::Bool(false) | Value::Error)
}

fn evaluate(expression: &Expr) -> Value {
    match expression {
        Expr::Literal(Literal::Bool(value)) => Value::Bool(*value),
        Expr::Literal(Literal::String(text)) => Value::Text(text.to_string()),
        Expr::Set(values) => Value::Set(values.iter().map(|value| evaluate(value)).collect()),
        Expr::GetAttr { .. } => attribute(expression),
        Expr::HasAttr { expr, attrs } => match super::rule::path(expr) {
            Some(mut path) => {
                path.extend(attrs.iter().map(ToString::to_string));
                has(&path)
            }
            None => Value::Unknown,
        },
        Expr::UnaryOp { op: UnaryOp::Not, expr } => match evaluate(expr) {
            Value::Bool(value) => Value::Bool(!value),
            Value::Error => Value::Error,
            _ => Value::Unknown,
        },
        Expr::BinaryOp { op, left, right } => binary(*op, left, right),
        Expr::Like { expr, pattern } => match evaluate(expr) {
            Value::Text(text) => Value::Bool(is_like(&text.chars().collect::<Vec<_>>(), pattern)),
            Value::Error => Value::Error,
            _ => Value::Unknown,
        },
        Expr::Is { expr, entity_type, in_expr } => {
            let principal = matches!(**expr, Expr::Var(Var::Principal));
            match in_expr {
                _ if principal && entity_type.to_string() != "Step" => Value::Bool(false),
                Some(of) if principal => within(of),
                None if principal => Value::Bool(true),
                _ => Value::Unknown,
            }
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => match evaluate(cond) {
            Value::Bool(true) => evaluate(then_expr),
            Value::Bool(false) => evaluate(else_expr),
            Value::Error => Value::Error,
            _ => {
                let (one, other) = (evaluate(then_expr), evaluate(else_expr));
                if never(&one) && never(&other) { Value::Bool(false) } else { Value::Unknown }
            }
        },
        _ => Value::Unknown,
    }
}

fn attribute(expression: &Expr) -> Value {
    let Some(path) = super::rule::path(expression) else { return Value::Unknown };
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        [
            "measured",
            "runner" | "tpm_class" | "isolation" | "boot_state" | "boot" | "secure_boot" | "executables" | "violations"
            | "component",
        ] => Value::Text(String::new()),
        ["measured", "job", ..] => Value::Error,
        _ => Value::Unknown,
    }
}

fn has(path: &[String]) -> Value {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["measured", "job", ..] => Value::Bool(false),
        ["measured"] | ["measured", _] | ["claimed"] | ["claimed", _] => Value::Bool(true),
        _ => Value::Unknown,
    }
}

fn binary(op: BinaryOp, left: &Expr, right: &Expr) -> Value {
    let principal = |expression: &Expr| matches!(expression, Expr::Var(Var::Principal));
    match op {
        BinaryOp::And => match (evaluate(left), evaluate(right)) {
            (Value::Bool(false), _) => Value::Bool(false),
            (Value::Error, _) => Value::Error,
            (Value::Bool(true), right) => right,
            // Whatever the left side is: the whole is never true.
            (_, right) if never(&right) => Value::Bool(false),
            _ => Value::Unknown,
        },
        BinaryOp::Or => match (evaluate(left), evaluate(right)) {
            (Value::Bool(true), _) => Value::Bool(true),
            (Value::Error, _) => Value::Error,
            (Value::Bool(false), right) => right,
            _ => Value::Unknown,
        },
        // The step is none that anybody knows, and in nothing but what the asker says.
        BinaryOp::Eq if principal(left) => equal_to_step(right),
        BinaryOp::Eq if principal(right) => equal_to_step(left),
        BinaryOp::In if principal(left) => within(right),
        BinaryOp::Eq | BinaryOp::NotEq => match (evaluate(left), evaluate(right)) {
            (Value::Error, _) | (_, Value::Error) => Value::Error,
            (left, right) => match equal(&left, &right) {
                Some(same) => Value::Bool(same == (op == BinaryOp::Eq)),
                None => Value::Unknown,
            },
        },
        BinaryOp::Contains => match (evaluate(left), evaluate(right)) {
            (Value::Error, _) | (_, Value::Error) => Value::Error,
            (Value::Set(values), wanted) => {
                let same: Vec<_> = values.iter().map(|value| equal(value, &wanted)).collect();
                if same.contains(&Some(true)) {
                    Value::Bool(true)
                } else if same.contains(&None) {
                    Value::Unknown
                } else {
                    Value::Bool(false)
                }
            }
            _ => Value::Unknown,
        },
        _ => match (evaluate(left), evaluate(right)) {
            (Value::Error, _) | (_, Value::Error) => Value::Error,
            _ => Value::Unknown,
        },
    }
}

/// `None`: that can't be said.
fn equal(one: &Value, other: &Value) -> Option<bool> {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Some(one == other),
        (Value::Text(one), Value::Text(other)) => Some(one == other),
        _ => None,
    }
}

/// A step that is named is another than one of which nothing is known.
fn equal_to_step(expression: &Expr) -> Value {
    match expression {
        Expr::Literal(Literal::EntityUID(_)) => Value::Bool(false),
        _ => Value::Unknown,
    }
}

/// A step of which nothing is known is in the stage that it asks of, and in nothing else.
fn within(expression: &Expr) -> Value {
    match expression {
        Expr::Literal(Literal::EntityUID(uid)) if uid.ty.to_string() != "Stage" => Value::Bool(false),
        Expr::Set(values) => {
            if values.iter().all(|value| never(&within(value))) {
                Value::Bool(false)
            } else {
                Value::Unknown
            }
        }
        _ => Value::Unknown,
    }
}

/// Whether a text is like a pattern: each run between wildcards is taken where it stands first.
fn is_like(text: &[char], pattern: &[PatternElem]) -> bool {
    let (mut at, mut of) = (0, 0);
    // After the last wildcard: the pattern from there, and the text that it was tried on.
    let mut again: Option<(usize, usize)> = None;
    while let Some(found) = text.get(at) {
        match pattern.get(of) {
            Some(PatternElem::Wildcard) => {
                of += 1;
                again = Some((of, at));
            }
            Some(PatternElem::Char(wanted)) if wanted == found => (at, of) = (at + 1, of + 1),
            _ => match again {
                Some((after, from)) => {
                    again = Some((after, from + 1));
                    (at, of) = (from + 1, after);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(of).all(|element| matches!(element, PatternElem::Wildcard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_cedar_matches_them_however_long() {
        let like = |text: &str, pattern: &str| {
            let element = |character| match character {
                '*' => PatternElem::Wildcard,
                other => PatternElem::Char(other),
            };
            is_like(&text.chars().collect::<Vec<_>>(), &pattern.chars().map(element).collect::<Vec<_>>())
        };
        for (text, pattern) in [("", ""), ("", "*"), ("abc", "a*c"), ("abcbc", "a*bc"), ("abc", "***"), ("ab", "*ab*")]
        {
            assert!(like(text, pattern), "{text} {pattern}");
        }
        for (text, pattern) in [("", "?"), ("a", ""), ("abc", "a*b"), ("abc", "abcd"), ("abc", "*ac")] {
            assert!(!like(text, pattern), "{text} {pattern}");
        }
        let began = std::time::Instant::now();
        assert!(!like(&"a".repeat(20_000), &format!("{}b", "*a".repeat(200))));
        assert!(began.elapsed() < std::time::Duration::from_secs(2));
    }
}
