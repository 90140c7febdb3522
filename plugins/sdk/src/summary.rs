//! Text for the page of the job. Needs `[summary]`.

use crate::bindings::attest::step::summary as host;

/// Adds Markdown.
pub fn append(markdown: &str) {
    host::append(markdown);
}

/// Text that Markdown shows as it is, in a paragraph or a cell: names of files are whatever somebody called them.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            // Every other ASCII punctuation may stand behind a backslash (CommonMark §2.4), and these can mean something.
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '+' | '!' | '|' | '~' | '@' | ':' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text in the type of code, in a paragraph or a cell.
pub fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

/// A link, where the text alone stands if the URL is none that can't be mistaken: servers say what they like.
pub fn link(text: &str, url: &str) -> String {
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    let is_plain = url.chars().all(|c| c.is_ascii_graphic() && !"()<>[]\\`|\"".contains(c));
    if is_web && is_plain { format!("[{}]({url})", escape(text)) } else { escape(text) }
}

/// A table. What stands in it is Markdown: [`escape`] what comes from elsewhere.
pub fn table<const COLUMNS: usize>(head: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let mut table = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(COLUMNS));
    for row in rows {
        table += &format!("| {} |\n", row.join(" | "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_do_not_become_markup() {
        assert_eq!(escape("app-1.0.tar.gz"), "app-1.0.tar.gz");
        assert_eq!(escape("a|b\n<img>"), "a\\|b &lt;img&gt;");
        assert_eq!(escape("[x](https://e.org)"), "\\[x\\]\\(https\\://e.org\\)");
        assert_eq!(code("`x`"), "<code>\\`x\\`</code>");
    }

    #[test]
    fn links_lead_to_the_web_or_nowhere() {
        assert_eq!(link("a_b", "https://e.org/x?y=%20"), "[a\\_b](https://e.org/x?y=%20)");
        for url in ["javascript:alert(1)", "https://e.org/) <img>", "https://e.org/|", "https://e.org/a\nb", ""] {
            assert_eq!(link("a", url), "a", "{url}");
        }
    }

    #[test]
    fn tables_have_a_head_and_rows() {
        let rows = [["a".to_owned(), "1".to_owned()], ["b".to_owned(), "2".to_owned()]];
        assert_eq!(table(["File", "Size"], &rows), "| File | Size |\n|---|---|\n| a | 1 |\n| b | 2 |\n");
    }
}
