//! Plain text as HTML.

/// Text that is safe between tags and inside quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

/// Paragraphs, separated by empty lines, with `code` in backticks.
pub(super) fn prose(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
    paragraphs.map(|paragraph| format!("<p>{}</p>\n", with_code(paragraph))).collect()
}

fn with_code(paragraph: &str) -> String {
    let mut html = String::new();
    for (index, part) in paragraph.split('`').enumerate() {
        let part = escape(part);
        // Every second part stands between backticks.
        if index % 2 == 1 {
            html.push_str(&format!("<code>{part}</code>"));
        } else {
            html.push_str(&part);
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::{escape, prose};

    #[test]
    fn nothing_becomes_markup() {
        assert_eq!(escape("<a href='x' b=\"y\">&"), "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;");
        assert_eq!(
            prose("Use `a<b`.\n\nThen\nmore."),
            "<p>Use <code>a&lt;b</code>.</p>\n<p>Then\nmore.</p>\n"
        );
        assert_eq!(prose(""), "");
    }
}
