//! Phrases that end an answer.

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// What ends the answer.
        phrases: Vec<String>, minItems: 1, maxItems: 64, examples: [vec!["END"], vec!["aab", "ab", "🦉🦉"]];
        /// Whether the phrase is part of the answer.
        keep: bool = false, examples: [true];
    }
}

/// The longest phrase, in bytes.
const PHRASE_BYTES_MAX: usize = 1024;

/// The stream processor.
pub struct StopPhrases {
    args: Args,
    /// What may be the beginning of a phrase.
    kept: String,
}

impl Stream for StopPhrases {
    type Args = Args;
    const ABOUT: About = about!("Ends the answer where one of some phrases begins, and says which.");

    fn open(args: Args) -> Result<Self, Error> {
        match args.phrases.iter().map(String::len).find(|length| !(1..=PHRASE_BYTES_MAX).contains(length)) {
            Some(length) => {
                Err(format!("phrases: one has {length} bytes; it is 1 to {PHRASE_BYTES_MAX}").into())
            }
            None => Ok(Self { args, kept: String::new() }),
        }
    }

    fn push(&mut self, chunk: Chunk) -> Vec<Event> {
        self.kept.push_str(&chunk.text);
        self.decide(false)
    }

    fn close(&mut self, _reason: Finish) -> Vec<Event> {
        self.decide(true)
    }
}

impl StopPhrases {
    /// Says what is sure. A phrase that begins earlier and is not whole yet goes before one that is.
    fn decide(&mut self, is_end: bool) -> Vec<Event> {
        let Self { args: Args { phrases, keep }, kept } = self;
        let found = phrases.iter().filter_map(|phrase| kept.find(phrase.as_str()).map(|at| (at, phrase)));
        // Of several that begin at a place, the one that ends first: that is the one that is noticed first, however
        // the text comes.
        let found = found.min_by_key(|(at, phrase)| (*at, phrase.len()));
        let open = phrases.iter().map(|phrase| kept.len() - begun_at_end(kept, phrase)).min();
        let open = if is_end { kept.len() } else { open.unwrap_or(kept.len()) };
        match found {
            Some((at, phrase)) if at <= open => {
                let end = if *keep { at + phrase.len() } else { at };
                let meta = format!(r#"{{"stopped_by":{}}}"#, quoted(phrase));
                vec![Event::Text(kept[..end].to_owned()), Event::Meta(meta), Event::Stop(Finish::Stop)]
            }
            _ => vec![Event::Text(kept.drain(..open).collect())],
        }
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

export!(stream: StopPhrases);

#[cfg(test)]
mod tests {
    use super::*;

    fn told(args: &str, chunks: &[&str]) -> String {
        let mut stream: StopPhrases = match Args::parse(args).and_then(StopPhrases::open) {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        let mut told = String::new();
        let mut say = |events: Vec<Event>| {
            let mut is_over = false;
            for event in events {
                match event {
                    Event::Text(text) => told.push_str(&text),
                    Event::Meta(meta) => told.push_str(&meta),
                    other => is_over = matches!(other, Event::Stop(_)),
                }
            }
            is_over
        };
        for text in chunks {
            if say(stream.push(Chunk { text: (*text).to_owned(), ..Chunk::default() })) {
                return told;
            }
        }
        say(stream.close(Finish::Stop));
        told
    }

    #[test]
    fn the_answer_ends_where_a_phrase_begins() {
        let args = r#"{"phrases": ["END", "\nUser:"]}"#;
        assert_eq!(told(args, &["One. E", "N", "D two"]), r#"One. {"stopped_by":"END"}"#);
        assert_eq!(told(args, &["One.\nUs", "er: x"]), r#"One.{"stopped_by":"\u000aUser:"}"#);
        assert_eq!(told(args, &["One. EN"]), "One. EN");
        assert_eq!(
            told(r#"{"phrases": ["END"], "keep": true}"#, &["One. END."]),
            r#"One. END{"stopped_by":"END"}"#
        );
    }

    #[test]
    fn the_earlier_phrase_wins_however_it_is_cut() {
        let args = r#"{"phrases": ["bc", "abcd", "ab"]}"#;
        for chunks in [&["xabcd"][..], &["xa", "bcd"], &["x", "a", "b", "c", "d"]] {
            assert_eq!(told(args, chunks), r#"x{"stopped_by":"ab"}"#, "{chunks:?}");
        }
        let longer = r#"{"phrases": ["bc", "abcd"]}"#;
        for chunks in [&["xabce"][..], &["xab", "ce"], &["xabc", "e"], &["x", "a", "b", "c", "e"]] {
            assert_eq!(told(longer, chunks), r#"xa{"stopped_by":"bc"}"#, "{chunks:?}");
        }
        assert_eq!(told(longer, &["xabc"]), r#"xa{"stopped_by":"bc"}"#);
    }

    #[test]
    fn what_is_refused() {
        assert!(told(r#"{"phrases": [""]}"#, &[]).contains("0 bytes"));
    }
}
