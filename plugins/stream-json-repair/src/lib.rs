//! Makes JSON of what is nearly JSON, while it comes: one state, and one character at a time, so that it does not
//! matter how the text is cut.

use minerva_plugin::prelude::*;

/// How deep objects and arrays may lie in each other, for readers have limits too (serde_json's is 128). What lies deeper
/// is left out.
const DEPTH_MAX: usize = 100;

/// The longest word without quotes, in bytes; a longer one is cut.
const WORD_BYTES_MAX: usize = 4096;

/// The stream processor.
pub struct JsonRepair {
    state: State,
    open: Vec<Open>,
    /// Objects and arrays that lie too deep, and are being passed over.
    too_deep: usize,
}

/// What is being read.
enum State {
    /// What is said before the JSON.
    Before,
    /// White space, commas, and whatever comes next.
    Between,
    /// A `/` that may begin a comment.
    Slash,
    /// A comment to the end of the line.
    LineComment,
    /// A comment to `*/`; whether the last character was the `*`.
    BlockComment(bool),
    /// A text, and the character that ends it.
    Text(char),
    /// Behind a `\` in a text.
    Escape(char),
    /// In the four digits behind a `\u` in a text.
    Unicode(char, String),
    /// A word without quotes.
    Word(String),
    /// What is said after the JSON.
    After,
}

/// An object or array that is not closed yet.
struct Open {
    is_object: bool,
    wants: Wants,
    /// Something is in it already.
    is_used: bool,
}

/// What may come next in an object or array.
#[derive(Clone, Copy, PartialEq)]
enum Wants {
    Key,
    Colon,
    Value,
}

impl Stream for JsonRepair {
    type Args = ();
    const ABOUT: About = about!("Makes valid JSON of an answer that is nearly JSON, while it comes.");

    fn open((): ()) -> Result<Self, Error> {
        Ok(Self { state: State::Before, open: Vec::new(), too_deep: 0 })
    }

    fn push(&mut self, chunk: Chunk) -> Vec<Event> {
        let mut said = String::new();
        for c in chunk.text.chars() {
            self.read(c, &mut said);
        }
        vec![Event::Text(said)]
    }

    fn close(&mut self, _reason: Finish) -> Vec<Event> {
        let mut said = String::new();
        match std::mem::replace(&mut self.state, State::After) {
            State::Before => {
                return vec![Event::Text("null".to_owned()), Event::Meta(r#"{"json":false}"#.to_owned())];
            }
            State::Text(_) | State::Escape(_) | State::Unicode(..) => self.end_text(&mut said),
            State::Word(word) => self.end_word(&word, &mut said),
            _ => {}
        }
        self.too_deep = 0;
        while !self.open.is_empty() {
            self.close_innermost(&mut said);
        }
        vec![Event::Text(said)]
    }
}

impl JsonRepair {
    fn read(&mut self, c: char, said: &mut String) {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Before if !matches!(c, '{' | '[') => self.state = State::Before,
            State::Before | State::Between => self.between(c, said),
            State::Slash => match c {
                '/' => self.state = State::LineComment,
                '*' => self.state = State::BlockComment(false),
                _ => self.between(c, said),
            },
            State::LineComment if c != '\n' => self.state = State::LineComment,
            State::LineComment => {}
            State::BlockComment(true) if c == '/' => {}
            State::BlockComment(_) => self.state = State::BlockComment(c == '*'),
            State::Text(end) if c == end => self.end_text(said),
            State::Text(end) => {
                if c == '\\' {
                    self.state = State::Escape(end);
                } else {
                    self.put_char(c, said);
                    self.state = State::Text(end);
                }
            }
            State::Escape(end) => {
                if c == 'u' {
                    self.state = State::Unicode(end, String::new());
                } else {
                    match c {
                        'b' | 'f' | 'n' | 'r' | 't' | '/' => self.put(&format!("\\{c}"), said),
                        c => self.put_char(c, said),
                    }
                    self.state = State::Text(end);
                }
            }
            State::Unicode(end, digits) => self.unicode(end, digits, c, said),
            State::Word(mut word) => {
                if c.is_alphanumeric() || "_-+.$".contains(c) {
                    if word.len() < WORD_BYTES_MAX {
                        word.push(c);
                    }
                    self.state = State::Word(word);
                } else {
                    self.end_word(&word, said);
                    if !matches!(self.state, State::After) {
                        self.between(c, said);
                    }
                }
            }
            State::After => self.state = State::After,
        }
    }

    /// A character between the parts.
    fn between(&mut self, c: char, said: &mut String) {
        match c {
            '{' | '[' => self.open(c == '{', said),
            '}' | ']' => {
                // One that closes nothing of its kind is left out; what lies in it is closed along with it.
                let is_object = c == '}';
                if self.too_deep > 0 {
                    self.too_deep -= 1;
                } else if self.open.iter().any(|open| open.is_object == is_object) {
                    while self.open.last().is_some_and(|open| open.is_object != is_object) {
                        self.close_innermost(said);
                    }
                    self.close_innermost(said);
                }
            }
            '"' | '\'' | '“' | '”' => {
                self.begin_part(said);
                self.put("\"", said);
                self.state = State::Text(if c == '“' { '”' } else { c });
            }
            ':' | '=' => {
                if let Some(open) = self.open.last_mut().filter(|open| open.wants == Wants::Colon)
                    && self.too_deep == 0
                {
                    open.wants = Wants::Value;
                    said.push(':');
                }
            }
            // A comma comes in where the next part begins. One in the place of a value is a value that is missing.
            ',' | ';'
                if self.too_deep == 0
                    && self.open.last().is_some_and(|open| open.is_object && open.wants != Wants::Key) =>
            {
                self.fill(said);
            }
            '/' => self.state = State::Slash,
            c if c.is_alphanumeric() || "_-+.$".contains(c) => self.state = State::Word(c.into()),
            _ => {}
        }
    }

    fn open(&mut self, is_object: bool, said: &mut String) {
        if self.too_deep > 0 || self.open.len() == DEPTH_MAX {
            if self.too_deep == 0 {
                self.begin_part(said);
                said.push_str("null");
                self.end_part();
            }
            self.too_deep += 1;
            return;
        }
        // An object cannot be a key: then the key was missing.
        self.begin_value(said);
        said.push(if is_object { '{' } else { '[' });
        let wants = if is_object { Wants::Key } else { Wants::Value };
        self.open.push(Open { is_object, wants, is_used: false });
    }

    /// Says what must come in front of a key or value: a comma, a colon.
    fn begin_part(&mut self, said: &mut String) {
        if self.too_deep > 0 {
            return;
        }
        let Some(open) = self.open.last_mut() else { return };
        match open.wants {
            Wants::Key | Wants::Value if open.is_used && (open.wants == Wants::Key || !open.is_object) => {
                said.push(',');
            }
            Wants::Colon => {
                said.push(':');
                open.wants = Wants::Value;
            }
            _ => {}
        }
        open.is_used = true;
    }

    fn begin_value(&mut self, said: &mut String) {
        self.begin_part(said);
        if let Some(open) = self.open.last_mut().filter(|open| open.wants == Wants::Key) {
            said.push_str("\"\":");
            open.wants = Wants::Value;
        }
    }

    /// What comes after a key or value that just ended.
    fn end_part(&mut self) {
        if self.too_deep > 0 {
            return;
        }
        match self.open.last_mut() {
            None => self.state = State::After,
            Some(open) if open.wants == Wants::Key => open.wants = Wants::Colon,
            Some(open) if open.is_object => open.wants = Wants::Key,
            Some(_) => {}
        }
    }

    /// Gives an object's key that has no value yet one.
    fn fill(&mut self, said: &mut String) {
        if let Some(open) = self.open.last_mut().filter(|open| open.is_object) {
            match open.wants {
                Wants::Key => {}
                Wants::Colon => said.push_str(":null"),
                Wants::Value => said.push_str("null"),
            }
            open.wants = Wants::Key;
        }
    }

    fn close_innermost(&mut self, said: &mut String) {
        self.fill(said);
        if let Some(open) = self.open.pop() {
            said.push(if open.is_object { '}' } else { ']' });
            self.end_part();
        }
    }

    fn end_text(&mut self, said: &mut String) {
        self.put("\"", said);
        self.end_part();
    }

    fn unicode(&mut self, end: char, mut digits: String, c: char, said: &mut String) {
        if c.is_ascii_hexdigit() {
            digits.push(c);
            if digits.len() < 4 {
                self.state = State::Unicode(end, digits);
                return;
            }
            // Halves of pairs stay as they are: what reads it may put them together.
            self.put(&format!("\\u{digits}"), said);
            self.state = State::Text(end);
        } else {
            self.put(&digits, said);
            self.state = State::Text(end);
            self.read(c, said);
        }
    }

    fn end_word(&mut self, word: &str, said: &mut String) {
        let is_key = self.open.last().is_some_and(|open| open.wants == Wants::Key);
        self.begin_part(said);
        let literal = match word {
            "true" | "True" | "TRUE" => Some("true"),
            "false" | "False" | "FALSE" => Some("false"),
            "null" | "None" | "NULL" | "nil" | "undefined" | "NaN" => Some("null"),
            word if is_number(word) => Some(word),
            _ => None,
        };
        match literal {
            Some(literal) if !is_key => self.put(literal, said),
            _ => {
                self.put("\"", said);
                word.chars().for_each(|c| self.put_char(c, said));
                self.put("\"", said);
            }
        }
        self.end_part();
    }

    /// A character of a text.
    fn put_char(&self, c: char, said: &mut String) {
        match c {
            '"' | '\\' => self.put(&format!("\\{c}"), said),
            '\n' => self.put("\\n", said),
            '\t' => self.put("\\t", said),
            '\r' => self.put("\\r", said),
            c if c < ' ' => self.put(&format!("\\u{:04x}", u32::from(c)), said),
            c => self.put(c.encode_utf8(&mut [0; 4]), said),
        }
    }

    fn put(&self, text: &str, said: &mut String) {
        if self.too_deep == 0 {
            said.push_str(text);
        }
    }
}

/// Whether a word is a number as JSON writes them.
fn is_number(word: &str) -> bool {
    minerva_plugin::from_json::<f64>(word).is_ok()
}

export!(stream: JsonRepair);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;
    use serde_json::Value;

    fn repaired(text: &str) -> String {
        let single: Vec<String> = text.chars().map(String::from).collect();
        let joined = |events: Vec<Event>| match &events[..] {
            [] => String::new(),
            [Event::Text(text), ..] => text.clone(),
            other => panic!("{other:?}"),
        };
        let whole = joined(testing::run::<JsonRepair>("{}", [text]).expect("it runs"));
        let cut =
            joined(testing::run::<JsonRepair>("{}", single.iter().map(String::as_str)).expect("it runs"));
        assert_eq!(whole, cut, "{text}");
        serde_json::from_str::<Value>(&whole)
            .unwrap_or_else(|error| panic!("{text} became {whole}: {error}"));
        whole
    }

    #[test]
    fn what_is_json_stays() {
        for text in [r#"{"a":[1,-2.5e3,"x\"\\\u00e9\n"],"b":{"c":null,"d":true},"e":[]}"#, "[]", "[[],{}]"] {
            assert_eq!(repaired(text), text);
        }
    }

    #[test]
    fn what_is_nearly_json_becomes_it() {
        for (text, expected) in [
            ("Sure! ```json\n{'a': True, 'b': None,}\n```", r#"{"a":true,"b":null}"#),
            (r#"{"name": "Ada", "tags": ["x", "y"#, r#"{"name":"Ada","tags":["x","y"]}"#),
            (r#"{"a": tr"#, r#"{"a":"tr"}"#),
            (r#"{"a": "#, r#"{"a":null}"#),
            (r#"{"a"#, r#"{"a":null}"#),
            (r#"{"a", "b": 1}"#, r#"{"a":null,"b":1}"#),
            (r#"{"a":, "b": 1}"#, r#"{"a":null,"b":1}"#),
            ("{a: 1 b: 2}", r#"{"a":1,"b":2}"#),
            ("[1 2,, 3,]", "[1,2,3]"),
            ("[1, // one\n 2 /* two */]", "[1,2]"),
            ("{\"a\": \"line\nend\\x\"}", r#"{"a":"line\nendx"}"#),
            (r#"{"a": 01, "b": 1.}"#, r#"{"a":"01","b":"1."}"#),
            (r#"{"a": [1}"#, r#"{"a":[1]}"#),
            (r#"{"a": 1] }"#, r#"{"a":1}"#),
            (r#"{{"a": 1}}"#, r#"{"":{"a":1}}"#),
            (r#"{"a": "\u00"#, r#"{"a":""}"#),
            (r#"["\u12x"]"#, r#"["12x"]"#),
            ("{\"a\": 1} and more [2]", r#"{"a":1}"#),
            ("no JSON at all", "null"),
        ] {
            assert_eq!(repaired(text), expected, "{text}");
        }
    }

    #[test]
    fn depth_has_a_limit() {
        let deep = repaired(&"[".repeat(2_000));
        assert_eq!(deep.matches('[').count(), DEPTH_MAX);
        assert_eq!(
            repaired(&format!("[1, {}{}, 2]", "[".repeat(600), "]".repeat(600))).matches(",2]").count(),
            1
        );
    }
}
