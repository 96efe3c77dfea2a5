//! A sampler of another version of the interface.

wit_bindgen::generate!({ path: "wit", world: "sampler-plugin" });

struct Other;

impl exports::minerva::plugin::sampler::Guest for Other {
    fn describe() -> String {
        "from another time".to_owned()
    }
}

export!(Other);
