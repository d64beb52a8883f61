//! Rust source with its comments, strings and characters blanked out.
//!
//! What is left keeps its place, byte for byte, so braces can be matched and words be looked for
//! without a parser.

/// `source` with a blank for each byte that is not code; line ends stay.
pub(crate) fn mask(source: &str) -> String {
    let mut masker = Masker { source: source.as_bytes(), at: 0, code: Vec::new() };
    while masker.at < masker.source.len() {
        masker.step();
    }
    // Only ASCII was replaced by ASCII or whole runs by blanks, see `Masker::blank_to`.
    String::from_utf8_lossy(&masker.code).into_owned()
}

struct Masker<'a> {
    source: &'a [u8],
    at: usize,
    code: Vec<u8>,
}

impl Masker<'_> {
    fn step(&mut self) {
        let rest = &self.source[self.at..];
        let in_word = self.at > 0 && is_word(self.source[self.at - 1]);
        if rest.starts_with(b"//") {
            self.blank_to(find(rest, b"\n").unwrap_or(rest.len()));
        } else if rest.starts_with(b"/*") {
            self.blank_to(block_comment(rest));
        } else if let Some(length) = raw_string(rest).filter(|_| !in_word) {
            self.blank_to(length);
        } else if rest[0] == b'"' {
            self.blank_to(quoted(rest, b'"'));
        } else if rest[0] == b'\'' && is_character(rest) {
            self.blank_to(quoted(rest, b'\''));
        } else {
            self.code.push(if rest[0].is_ascii() { rest[0] } else { b' ' });
            self.at += 1;
        }
    }

    /// Replaces the next `length` bytes by blanks.
    fn blank_to(&mut self, length: usize) {
        let run = &self.source[self.at..self.at + length];
        self.code.extend(run.iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
        self.at += length;
    }
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Length of the comment at the start, with those nested in it.
fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if rest[at..].starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of the raw string at the start, if one is there: `r"`, `r#"`, `br"`, `cr#"` and so on.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"r"[..], b"br", b"cr"].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..].iter().take_while(|&&byte| byte == b'#').count();
    let open = prefix.len() + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let body = &rest[open + 1..];
    Some(find(body, &close).map_or(rest.len(), |at| open + 1 + at + close.len()))
}

/// Length of the quoted text at the start, its quotes included.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Tells `'a'` from the lifetime `'a`.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(&byte) if is_word(byte) => rest.get(2) == Some(&b'\''),
        // Not a word: punctuation, or a character of several bytes.
        Some(_) => true,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn code_stays_and_the_rest_is_blank() {
        for (source, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("{ \" }", x)"#, "f(        , x)"),
            (r##"f(r#"{ " }"#, x)"##, "f(          , x)"),
            ("var\"{\"", "var   "),
            ("f('{', '\\'', '\\u{7f}')", "f(   ,     ,         )"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("\"open", "     "),
        ] {
            assert_eq!(mask(source), code, "{source}");
        }
    }

    #[test]
    fn bytes_keep_their_place() {
        let source = "let ä = 'é'; // ö\nlet x = \"ü\";";
        assert_eq!(mask(source).len(), source.len());
        assert_eq!(mask(source).find("let x"), source.find("let x"));
    }
}
