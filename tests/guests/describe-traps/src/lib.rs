//! Panics before anyone knows who it is.

use minerva_plugin::prelude::*;

struct Shy;

struct NoArgs;

impl Args for NoArgs {
    fn schema() -> String {
        panic!("I would rather not say")
    }

    fn parse(_: &str) -> Result<Self, Error> {
        Ok(Self)
    }
}

impl Stream for Shy {
    type Args = NoArgs;
    const ABOUT: About = about!("Shy.");

    fn open(_: NoArgs) -> Result<Self, Error> {
        Ok(Self)
    }

    fn push(&mut self, chunk: Chunk) -> Vec<Event> {
        vec![Event::Text(chunk.text)]
    }
}

export!(stream: Shy);
