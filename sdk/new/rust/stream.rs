//! A stream processor: turns the text of an answer, as it comes, into events.

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// What is replaced.
        find: String = "colour".to_owned(), minLength: 1, maxLength: 256;
        /// What stands in its place.
        replacement: String = "color".to_owned(), maxLength: 256;
    }
}

/// Its part in one answer.
struct Plugin {
    args: Args,
    /// What may be the beginning of what is looked for: it is kept back until that is clear.
    kept: String,
}

impl Stream for Plugin {
    type Args = Args;
    const ABOUT: About = about!("Replaces a text by another, also where it comes in pieces.");

    fn open(args: Args) -> Result<Self, Error> {
        Ok(Self {
            args,
            kept: String::new(),
        })
    }

    fn push(&mut self, chunk: Chunk) -> Vec<Event> {
        self.kept.push_str(&chunk.text);
        let Args { find, replacement } = &self.args;
        let mut said = String::new();
        while let Some(at) = self.kept.find(find.as_str()) {
            said.push_str(&self.kept[..at]);
            said.push_str(replacement);
            self.kept.drain(..at + find.len());
        }
        let sure = self.kept.len() - begun_at_end(&self.kept, find);
        said.extend(self.kept.drain(..sure));
        vec![Event::Text(said)]
    }

    fn close(&mut self, _reason: Finish) -> Vec<Event> {
        vec![Event::Text(std::mem::take(&mut self.kept))]
    }
}

export!(stream: Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    #[test]
    fn however_the_text_is_cut() {
        for chunks in [
            &["my colour, co"][..],
            &["my co", "lou", "r, co"],
            &["m", "y c", "", "olour, ", "co"],
        ] {
            let events = testing::run::<Plugin>("{}", chunks.iter().copied()).expect("it runs");
            assert_eq!(events, [Event::Text("my color, co".to_owned())]);
        }
    }
}
