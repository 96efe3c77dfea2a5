//! Redaction as a stream processor: what matches a pattern is replaced before anyone reads it, also when it comes
//! in pieces.
//!
//! The text as a whole is gone through from left to right. Where a pattern matches (of several the first in the
//! list), the match is replaced, and the search goes on behind it. A match is at most `max_length` bytes long, a
//! longer one is cut there. Text is kept back only as long as it can still become a match.

mod scan;

use minerva_plugin::prelude::*;

use crate::scan::{Found, Scanner};

args! {
    pub struct Args {
        /// What to redact, instead of e-mail addresses and telephone numbers: regular expressions in the syntax of
        /// Rust's crate `regex`. A word boundary is written `(?-u:\b)`.
        patterns: Vec<String> = DEFAULTS.iter().map(ToString::to_string).collect(), minItems: 1, maxItems: 32;
        /// What stands in the place of a match.
        replacement: String = "[redacted]".to_owned(), maxLength: 256;
        /// The longest match, in bytes: so much text can be kept back while it is not yet clear.
        max_length: u32 = 128, minimum: 1, maximum: 4096;
    }
}

/// E-mail addresses; telephone numbers with a country code, with an area code, and as in North America.
const DEFAULTS: [&str; 4] = [
    r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",
    r"\+[0-9]{1,3}(?:[ ./-]?(?:[0-9]{1,5}|\([0-9]{1,5}\))){2,6}",
    r"(?:\(0[0-9]{1,5}\)|(?-u:\b)0[0-9]{1,5})(?:[ ./-]?[0-9]{2,5}){1,4}",
    r"(?:\([0-9]{3}\) ?|(?-u:\b)[0-9]{3}[ .-])[0-9]{3}[.-][0-9]{4}(?-u:\b)",
];

/// The stream processor.
pub struct Redact {
    scanner: Scanner,
    replacement: String,
    /// What is not decided yet.
    kept: String,
    /// The byte before it.
    before: Option<u8>,
    redactions: u64,
}

impl Stream for Redact {
    type Args = Args;
    const ABOUT: About =
        about!("Replaces what matches regular expressions, e-mail and telephone numbers by default.");

    fn open(args: Args) -> Result<Self, Error> {
        let scanner = Scanner::new(&args.patterns, args.max_length as usize).map_err(Error::from)?;
        Ok(Self { scanner, replacement: args.replacement, kept: String::new(), before: None, redactions: 0 })
    }

    fn push(&mut self, chunk: Chunk) -> Vec<Event> {
        self.kept.push_str(&chunk.text);
        vec![Event::Text(self.decide(false))]
    }

    fn close(&mut self, _: Finish) -> Vec<Event> {
        let mut events = vec![Event::Text(self.decide(true))];
        if self.redactions > 0 {
            events.push(Event::Meta(format!(r#"{{"redactions":{}}}"#, self.redactions)));
        }
        events
    }
}

impl Redact {
    /// Takes out of what is kept all that is decided, redacted.
    fn decide(&mut self, is_end: bool) -> String {
        let (mut said, mut at) = (String::new(), 0);
        while let Some(next) = self.kept[at..].chars().next() {
            let length = match self.scanner.at(&self.kept.as_bytes()[at..], self.before, is_end) {
                Found::Undecided => break,
                Found::Match(length) => {
                    said.push_str(&self.replacement);
                    self.redactions += 1;
                    length
                }
                Found::Nothing => {
                    said.push(next);
                    next.len_utf8()
                }
            };
            at += length;
            self.before = Some(self.kept.as_bytes()[at - 1]);
        }
        self.kept.drain(..at);
        said
    }
}

export!(stream: Redact);

#[cfg(test)]
mod tests {
    use minerva_plugin::testing;
    use proptest::prelude::*;

    use super::*;

    fn redacted<'a>(args: &str, chunks: impl IntoIterator<Item = &'a str>) -> String {
        match testing::run::<Redact>(args, chunks) {
            Ok(events) => events
                .iter()
                .map(|event| match event {
                    Event::Text(text) => text.clone(),
                    other => format!("|{other:?}"),
                })
                .collect(),
            Err(error) => format!("error: {error}"),
        }
    }

    fn text(args: &str, text: &str) -> String {
        redacted(args, [text]).split('|').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn addresses_and_numbers_go() {
        for (said, heard) in [
            ("Write to ann.lee+x@mail.example.org, please.", "Write to [redacted], please."),
            ("Call +49 (30) 1234-5678 now", "Call [redacted] now"),
            ("Call 030/1234567.", "Call [redacted]."),
            ("(555) 123-4567 or 555-123-4567", "[redacted] or [redacted]"),
            (
                "In 1998-2003 there were 1000000 of 0.5 kg at 10:30.",
                "In 1998-2003 there were 1000000 of 0.5 kg at 10:30.",
            ),
            ("a@b is none, @ nor", "a@b is none, @ nor"),
        ] {
            assert_eq!(text("{}", said), heard);
        }
    }

    #[test]
    fn what_cannot_match_is_not_kept_back() {
        let mut stream = Redact::open(Args::parse("{}").unwrap()).unwrap();
        let mut push = |text: &str| stream.push(Chunk { text: text.to_owned(), ..Chunk::default() });
        assert_eq!(push("Hello, my "), [Event::Text("Hello, my ".to_owned())]);
        assert_eq!(push("ad"), [Event::Text(String::new())]);
        assert_eq!(push("dress is x@y.z"), [Event::Text("address is ".to_owned())]);
        assert_eq!(push("!"), [Event::Text("[redacted]!".to_owned())]);
    }

    #[test]
    fn the_count_is_told() {
        let told = redacted("{}", ["a@b.c d@e.f"]);
        assert_eq!(told, r#"[redacted] [redacted]|Meta("{\"redactions\":2}")"#);
    }

    #[test]
    fn arguments() {
        assert_eq!(text(r#"{"patterns": ["(?i)secret"], "replacement": "*"}"#, "Secret SECRETS"), "* *S");
        // The first of several that match wins; an empty match is none.
        assert_eq!(text(r#"{"patterns": ["ab", "abc", "x*"], "replacement": "*"}"#, "abcabx-"), "*c**-");
        // A longer match is cut, so nothing of it is seen.
        assert_eq!(
            text(r#"{"patterns": ["[0-9]+"], "replacement": "*", "max_length": 4}"#, "1234567890 1"),
            "*** *"
        );
        // ü is two bytes, and is not cut.
        assert_eq!(text(r#"{"patterns": ["ü+"], "replacement": "*", "max_length": 3}"#, "üüü"), "***");
        assert!(text(r#"{"patterns": ["("]}"#, "").starts_with("error: patterns: "));
        assert!(text(r#"{"patterns": ["\\w{1000}{1000}"]}"#, "").starts_with("error: patterns: "));
    }

    proptest! {
        #[test]
        fn however_it_is_cut(
            // Pieces of what the patterns look for, and of what they do not.
            pieces in prop::collection::vec(
                prop_oneof!["[a-c@. ]{0,6}", "[0-9+() /-]{0,8}", "[äöü€🦉]{0,3}", Just("ann@example.org".to_owned())],
                0..12,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            max_length in 1_u32..40,
        ) {
            let whole = pieces.concat();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
            ends.retain(|&end| whole.is_char_boundary(end));
            ends.sort_unstable();
            let mut chunks = Vec::new();
            let mut start = 0;
            for end in ends {
                chunks.push(&whole[start..end]);
                start = end;
            }
            chunks.push(&whole[start..]);
            let args = format!(r#"{{"max_length": {max_length}}}"#);
            prop_assert_eq!(redacted(&args, chunks), redacted(&args, [whole.as_str()]));
        }
    }
}
