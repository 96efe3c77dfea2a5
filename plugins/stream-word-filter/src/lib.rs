//! Moderation by a list of words: masks them, or ends the answer.

use std::collections::HashSet;

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// The words, of letters and digits; case does not matter.
        words: Vec<String>, minItems: 1, maxItems: 1000, examples: [vec!["owl", "größe"], vec!["x"]];
        /// `mask` or `stop`.
        action: String = "mask".to_owned(), pattern: "^(mask|stop)$", examples: ["stop"];
    }
}

/// The longest word, in characters.
const WORD_CHARS_MAX: usize = 64;

/// The stream processor.
pub struct WordFilter {
    words: HashSet<String>,
    stops: bool,
    /// The word under way, as long as it may be one of the list.
    word: String,
    /// The word under way is longer than any of the list, and passes as it comes.
    is_long: bool,
    filtered: u64,
}

impl Stream for WordFilter {
    type Args = Args;
    const ABOUT: About = about!("Moderation by a list of words: masks them, or ends the answer.");

    fn open(args: Args) -> Result<Self, Error> {
        let mut words = HashSet::new();
        for word in args.words {
            let length = word.chars().count();
            if !(1..=WORD_CHARS_MAX).contains(&length) || !word.chars().all(char::is_alphanumeric) {
                return Err(format!("words: {word:?} is not 1 to {WORD_CHARS_MAX} letters and digits").into());
            }
            words.insert(word.to_lowercase());
        }
        let stops = args.action == "stop";
        Ok(Self { words, stops, word: String::new(), is_long: false, filtered: 0 })
    }

    fn push(&mut self, chunk: Chunk) -> Vec<Event> {
        let mut said = String::new();
        for c in chunk.text.chars() {
            if c.is_alphanumeric() {
                self.word.push(c);
                if self.is_long || self.word.chars().count() > WORD_CHARS_MAX {
                    self.is_long = true;
                    said.push_str(&self.word);
                    self.word.clear();
                }
            } else {
                if self.end_word(&mut said) {
                    return self.stop(said);
                }
                said.push(c);
            }
        }
        vec![Event::Text(said)]
    }

    fn close(&mut self, _reason: Finish) -> Vec<Event> {
        let mut said = String::new();
        if self.end_word(&mut said) {
            return self.stop(said);
        }
        let mut events = vec![Event::Text(said)];
        if self.filtered > 0 {
            events.push(self.report());
        }
        events
    }
}

impl WordFilter {
    /// Says the word that just ended, or what stands for it. True where the answer must end before it.
    fn end_word(&mut self, said: &mut String) -> bool {
        let word = std::mem::take(&mut self.word);
        self.is_long = false;
        if !self.words.contains(&word.to_lowercase()) {
            said.push_str(&word);
            return false;
        }
        self.filtered += 1;
        if !self.stops {
            said.extend(word.chars().map(|_| '*'));
        }
        self.stops
    }

    fn stop(&self, said: String) -> Vec<Event> {
        vec![Event::Text(said), self.report(), Event::Stop(Finish::Filter)]
    }

    fn report(&self) -> Event {
        Event::Meta(format!(r#"{{"filtered":{}}}"#, self.filtered))
    }
}

export!(stream: WordFilter);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    fn told(args: &str, chunks: &[&str]) -> String {
        let shown = |event: &Event| match event {
            Event::Text(text) => text.clone(),
            other => format!("|{other:?}"),
        };
        match testing::run::<WordFilter>(args, chunks.iter().copied()) {
            Ok(events) => events.iter().map(shown).collect(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn whole_words_are_masked() {
        let args = r#"{"words": ["darn", "GRÖSSE"]}"#;
        assert_eq!(told(args, &["Oh Da", "rn! darning"]), r#"Oh ****! darning|Meta("{\"filtered\":1}")"#);
        assert_eq!(told(args, &["größe"]), "größe");
        assert_eq!(told(args, &["grösse"]), r#"******|Meta("{\"filtered\":1}")"#);
        let long = "darn".repeat(100);
        assert_eq!(told(args, &[&long, " ok"]), format!("{long} ok"));
    }

    #[test]
    fn or_end_the_answer() {
        let args = r#"{"words": ["darn"], "action": "stop"}"#;
        assert!(told(args, &["Oh da", "rn"]).starts_with(r#"Oh |Meta("{\"filtered\":1}")|Stop(Filter)"#));
    }

    #[test]
    fn what_is_refused() {
        assert!(told(r#"{"words": ["two words"]}"#, &[]).contains("letters and digits"));
    }
}
