use std::time::Duration;

use minerva_plugin::prelude::*;

struct Remembering;

impl Template for Remembering {
    type Args = ();
    const ABOUT: About = about!("Remembers.");

    fn render(_: &Chat, (): ()) -> Result<Prompt, Error> {
        let visits = store::add("visits", 1, None)?;
        if visits == 1 {
            store::set("last", "a föx".as_bytes(), Some(Duration::from_secs(3600)))?;
        }
        let last = store::get("last").map_or("nothing".into(), |last| String::from_utf8(last).expect("text"));
        if visits == 2 {
            store::remove("last");
        }
        Err(format!("{visits}: {last}").into())
    }
}

export!(template: Remembering);
