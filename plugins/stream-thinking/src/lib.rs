//! Thinking apart from the answer: what stands between two marks becomes reasoning.

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// What opens a thinking.
        open: String = "<think>".to_owned(), minLength: 1, maxLength: 64, examples: ["aab"];
        /// What closes it.
        close: String = "</think>".to_owned(), minLength: 1, maxLength: 64;
        /// Whether the answer begins in a thinking that the prompt opened.
        begins_inside: bool = false, examples: [true];
        /// Whether to leave the thinking out.
        drop: bool = false, examples: [true];
    }
}

/// The stream processor.
pub struct Thinking {
    args: Args,
    is_inside: bool,
    /// A mark has just been: white space is left out.
    is_fresh: bool,
    /// What may be the beginning of a mark.
    kept: String,
}

impl Stream for Thinking {
    type Args = Args;
    const ABOUT: About = about!("Tells the thinking between <think> and </think> from the answer.");

    fn open(args: Args) -> Result<Self, Error> {
        Ok(Self { is_inside: args.begins_inside, is_fresh: args.begins_inside, args, kept: String::new() })
    }

    fn push(&mut self, chunk: Chunk) -> Vec<Event> {
        self.kept.push_str(&chunk.text);
        let mut events = Vec::new();
        loop {
            let mark = if self.is_inside { &self.args.close } else { &self.args.open };
            let Some(at) = self.kept.find(mark.as_str()) else { break };
            let length = mark.len();
            let said: String = self.kept.drain(..at).collect();
            self.kept.drain(..length);
            self.say(&said, &mut events);
            self.is_inside = !self.is_inside;
            self.is_fresh = true;
        }
        let mark = if self.is_inside { &self.args.close } else { &self.args.open };
        let sure = self.kept.len() - begun_at_end(&self.kept, mark);
        let said: String = self.kept.drain(..sure).collect();
        self.say(&said, &mut events);
        events
    }

    fn close(&mut self, _reason: Finish) -> Vec<Event> {
        let mut events = Vec::new();
        let said = std::mem::take(&mut self.kept);
        self.say(&said, &mut events);
        events
    }
}

impl Thinking {
    fn say(&mut self, text: &str, events: &mut Vec<Event>) {
        let text = if self.is_fresh { text.trim_start() } else { text };
        if text.is_empty() {
            return;
        }
        self.is_fresh = false;
        match (self.is_inside, self.args.drop) {
            (true, true) => {}
            (true, false) => events.push(Event::Reasoning(text.to_owned())),
            (false, _) => events.push(Event::Text(text.to_owned())),
        }
    }
}

export!(stream: Thinking);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    fn told(args: &str, chunks: &[&str]) -> String {
        let events = testing::run::<Thinking>(args, chunks.iter().copied()).expect("it runs");
        let shown = |event: &Event| match event {
            Event::Text(text) => text.clone(),
            Event::Reasoning(text) => format!("({text})"),
            other => format!("{other:?}"),
        };
        events.iter().map(shown).collect()
    }

    #[test]
    fn thinking_is_told_apart() {
        let answer = "<think>\nHm. 1 < 2\n</think>\n\nYes.";
        let expected = "(Hm. 1 < 2\n)Yes.";
        assert_eq!(told("{}", &[answer]), expected);
        let single: Vec<String> = answer.chars().map(String::from).collect();
        assert_eq!(told("{}", &single.iter().map(String::as_str).collect::<Vec<_>>()), expected);
        assert_eq!(told(r#"{"drop": true}"#, &[answer]), "Yes.");
        assert_eq!(told(r#"{"begins_inside": true}"#, &["\nHm.</th", "ink>Yes."]), "(Hm.)Yes.");
    }

    #[test]
    fn what_only_begins_like_a_mark_is_text() {
        assert_eq!(told("{}", &["1 <", " 2 <thin", "g> <thi"]), "1 < 2 <thing> <thi");
        assert_eq!(told("{}", &["<think>no end </thin"]), "(no end </thin)");
        assert_eq!(told(r#"{"open": "aab"}"#, &["aa", "ab", "x"]), "a(x)");
    }
}
