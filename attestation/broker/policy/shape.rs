//! How deep and how long rules may be, before anything parses them: parsers, validators and evaluators of expressions
//! recurse, and what recurses ends a process when its stack does.

/// Deepest nesting of parentheses, brackets and braces.
const DEEPEST: usize = 24;
/// Most operators, dots and brackets in one rule, by their characters. A list says with one what a chain of `||` says with
/// many.
const MOST_OPERATORS: usize = 320;

/// Whether every rule of a policy is flat and short enough.
///
/// # Errors
/// The line, and what is too much there.
pub(super) fn check(text: &str) -> Result<(), (usize, &'static str)> {
    let (mut depth, mut operators, mut line) = (0_usize, 0_usize, 1_usize);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\n' => line += 1,
            '"' => {
                while let Some(inner) = characters.next() {
                    match inner {
                        '"' => break,
                        '\\' => drop(characters.next()),
                        '\n' => line += 1,
                        _ => {}
                    }
                }
            }
            '/' if characters.peek() == Some(&'/') => while characters.next_if(|next| *next != '\n').is_some() {},
            '(' | '[' | '{' => {
                depth += 1;
                // `a["b"]["c"]` and `when {…} when {…}` recurse, and never get deep.
                operators += 1;
                if depth > DEEPEST {
                    return Err((line, "it is nested too deep"));
                }
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '|' | '&' | '!' | '+' | '-' | '*' | '.' => operators += 1,
            // `if … then … else if …` recurses, too; that names hold these letters costs them little.
            'i' if characters.peek() == Some(&'f') => operators += 1,
            ';' => (depth, operators) = (0, 0),
            _ => {}
        }
        if operators > MOST_OPERATORS {
            return Err((line, "it has too many operators: a list, `[…].contains(…)`, says it with one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_flat_and_short_whatever_stands_in_their_strings() {
        let rule = |when: &str| format!("permit (principal, action, resource) when {{ {when} }};");
        assert_eq!(check(&rule("a == \"((((((((((((((((((((((((((((((((((((\"")), Ok(()));
        assert_eq!(check(&format!("// {}\n{}", "(".repeat(100), rule("true"))), Ok(()));
        assert_eq!(check(&rule("true").repeat(10_000)), Ok(()));
        assert!(check(&rule(&format!("\n{}true{}", "(".repeat(30), ")".repeat(30)))).is_err_and(|(line, _)| line == 2));
        assert!(check(&rule(&vec!["true"; 200].join(" || "))).is_err());
        assert!(check(&rule(&format!("{}true", "!".repeat(400)))).is_err());
        assert!(check(&rule(&"if true then true else ".repeat(400))).is_err());
        assert!(check(&rule(&format!("context{}", ".a".repeat(400)))).is_err());
        assert!(check(&rule(&format!("context{}", "[\"a\"]".repeat(400)))).is_err());
        assert!(check(&format!("permit (principal, action, resource) {};", "when { true } ".repeat(400))).is_err());
        assert!(check("\"").is_ok() && check("").is_ok());
    }
}
