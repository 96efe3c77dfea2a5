//! JSON as it comes: where a value ends that is not whole yet.

/// Follows a JSON value of which pieces come one after another. It counts brackets and quotes and checks no more:
/// what is wrong inside is the reader's to find.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    depth: u32,
    in_string: bool,
    escaped: bool,
    begun: bool,
}

impl Scanner {
    /// A scanner inside an object, which is over where the object is.
    pub(super) fn in_object() -> Self {
        Self { depth: 1, begun: true, ..Self::default() }
    }

    /// How many bytes of `text` still belong to the value, and whether it ends there. A number or a word ends
    /// before what cannot be part of it.
    pub(super) fn push(&mut self, text: &str) -> (usize, bool) {
        for (at, byte) in text.bytes().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return (at + 1, true);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 0 => return (at, true),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                b',' if self.depth == 0 => return (at, true),
                byte if self.depth == 0 && self.begun && (byte.is_ascii_whitespace() || byte == b'<') => {
                    return (at, true);
                }
                byte if byte.is_ascii_whitespace() && !self.begun => continue,
                _ => {}
            }
            self.begun = true;
        }
        (text.len(), false)
    }
}

/// What a beginning of text is, where more may come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begin<T> {
    /// It may still become one.
    Open,
    /// It is one.
    Is(T),
    /// It is not one, whatever comes.
    Not,
}

/// The beginning of a call: its name, and where its arguments begin, if it has any.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: String,
    /// Bytes up to the arguments, or up to the end of the object where there are none.
    pub(super) length: usize,
    pub(super) has_arguments: bool,
}

/// Reads `{"name": "…", "arguments": `, or `parameters`; the usual order of the keys and no other.
pub(super) fn head(text: &str) -> Begin<Head> {
    let mut cursor = Cursor { text, at: 0 };
    let read = |cursor: &mut Cursor<'_>| -> Result<Head, Begin<Head>> {
        cursor.expect("{")?;
        cursor.expect("\"name\"")?;
        cursor.expect(":")?;
        let name = cursor.string()?;
        if cursor.takes("}")? {
            return Ok(Head { name, length: cursor.at - 1, has_arguments: false });
        }
        cursor.expect(",")?;
        let key = cursor.string()?;
        if key != "arguments" && key != "parameters" {
            return Err(Begin::Not);
        }
        cursor.expect(":")?;
        cursor.skip_space();
        if cursor.rest().is_empty() {
            return Err(Begin::Open);
        }
        Ok(Head { name, length: cursor.at, has_arguments: true })
    };
    read(&mut cursor).map_or_else(|other| other, Begin::Is)
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes `wanted` if it is next.
    fn takes<T>(&mut self, wanted: &str) -> Result<bool, Begin<T>> {
        self.skip_space();
        let rest = self.rest();
        if rest.starts_with(wanted) {
            self.at += wanted.len();
            return Ok(true);
        }
        if wanted.starts_with(rest) { Err(Begin::Open) } else { Ok(false) }
    }

    fn expect<T>(&mut self, wanted: &str) -> Result<(), Begin<T>> {
        if self.takes(wanted)? { Ok(()) } else { Err(Begin::Not) }
    }

    fn string<T>(&mut self) -> Result<String, Begin<T>> {
        self.skip_space();
        let rest = self.rest();
        match rest.as_bytes().first() {
            None => return Err(Begin::Open),
            Some(b'"') => {}
            Some(_) => return Err(Begin::Not),
        }
        let (length, ended) = Scanner::default().push(rest);
        if !ended {
            return Err(Begin::Open);
        }
        self.at += length;
        serde_json::from_str(&rest[..length]).map_err(|_| Begin::Not)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_end() {
        for (text, expected) in [
            ("{} x", (2, true)),
            ("{\"a\": \"}\\\"\"} ", (12, true)),
            ("[1, {\"b\": []}], ", (14, true)),
            ("\"a\\\"b\" ", (6, true)),
            ("12}", (2, true)),
            (" true\n", (5, true)),
            ("{\"a\": 1", (7, false)),
        ] {
            assert_eq!(Scanner::default().push(text), expected, "{text}");
        }
        assert_eq!(Scanner::in_object().push(", \"id\": \"}\"} x"), (12, true));
    }

    #[test]
    fn heads_are_open_until_they_are_one() {
        let text = "{\"name\": \"add\", \"arguments\": {";
        let head_of = |text: &str| head(text);
        for end in 0..text.len() {
            assert_eq!(head_of(&text[..end]), Begin::Open, "{}", &text[..end]);
        }
        let expected = Head { name: "add".into(), length: text.len() - 1, has_arguments: true };
        assert_eq!(head_of(text), Begin::Is(expected));
        let expected = Head { name: "now".into(), length: 14, has_arguments: false };
        assert_eq!(head_of("{\"name\": \"now\"}"), Begin::Is(expected));
        for other in ["x", "{\"id\"", "{\"name\": 1", "{\"name\": \"x\", \"age\": 1}", "{}"] {
            assert_eq!(head_of(other), Begin::Not, "{other}");
        }
    }
}
