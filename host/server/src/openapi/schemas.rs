//! The schemas of the document, derived from the types of the wire.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::app::Options;

/// Makes the schema of a type that some fields of a body are read into.
pub(crate) type Part = fn(&mut SchemaGenerator) -> Schema;

const DEFINITIONS: &str = "/components/schemas";

/// Gathers the schemas that a document needs.
pub(crate) struct Schemas<'a> {
    options: &'a Options,
    read: SchemaGenerator,
    written: SchemaGenerator,
    bodies: Map<String, Value>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = DEFINITIONS.into();
        settings.meta_schema = None;
        let (read, written) = (settings.clone().for_deserialize(), settings.for_serialize());
        Self { options, read: read.into(), written: written.into(), bodies: Map::new() }
    }

    /// A body that is answered.
    pub(crate) fn answer<T: JsonSchema>(&mut self) -> Value {
        self.written.subschema_for::<T>().into()
    }

    /// An event of a stream that can break off with an error of some form.
    pub(crate) fn event<T: JsonSchema, E: JsonSchema>(&mut self) -> Value {
        json!({"anyOf": [self.answer::<T>(), self.answer::<E>()]})
    }

    /// A body that is read: one object, of which each of some types reads its own fields.
    pub(crate) fn body(&mut self, name: &'static str, parts: &[Part]) -> Value {
        if !self.bodies.contains_key(name) {
            let mut whole = json!({"type": "object", "properties": {}, "required": []});
            for part in parts {
                let mut part = Value::from(part(&mut self.read));
                let properties = part["properties"].take();
                for (field, schema) in properties.as_object().into_iter().flatten() {
                    let mut schema = schema.clone();
                    let names = schema.as_object_mut().and_then(|schema| schema.remove("x-other-names"));
                    for name in names.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str) {
                        let required = part["required"].as_array_mut();
                        if let Some(required) =
                            required.filter(|required| required.iter().any(|it| it == field))
                        {
                            required.retain(|it| it != field);
                            whole["anyOf"] = json!([{"required": [field]}, {"required": [name]}]);
                        }
                        whole["properties"][name] =
                            json!({"description": format!("Another name of `{field}`.")});
                        for (keyword, value) in schema.as_object().into_iter().flatten() {
                            if keyword != "description" {
                                whole["properties"][name][keyword] = value.clone();
                            }
                        }
                    }
                    whole["properties"][field] = schema;
                }
                if let (Some(all), Some(more)) =
                    (whole["required"].as_array_mut(), part["required"].as_array_mut())
                {
                    all.append(more);
                }
            }
            if let Some(n) = whole["properties"].get_mut("n") {
                let least = n["maximum"].as_u64().unwrap_or(u64::MAX).min(self.options.choices_max as u64);
                n["maximum"] = least.into();
            }
            self.bodies.insert(name.to_owned(), whole);
        }
        json!({"$ref": format!("#{DEFINITIONS}/{name}")})
    }

    /// All that is referred to.
    pub(super) fn into_definitions(mut self) -> Map<String, Value> {
        let mut all = self.bodies;
        all.append(&mut self.read.take_definitions(true));
        all.append(&mut self.written.take_definitions(true));
        all.values_mut().for_each(bound);
        all
    }
}

/// Says of whole numbers how large they can be; schemars says only how many bits they have.
fn bound(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            let (least, most) = match keywords.get("format").and_then(Value::as_str) {
                Some("uint32") => (0, u64::from(u32::MAX)),
                Some("int64") => (i64::MIN, i64::MAX as u64),
                _ => (0, 0),
            };
            if most > 0 {
                keywords.entry("minimum").or_insert_with(|| least.into());
                keywords.entry("maximum").or_insert_with(|| most.into());
            }
            keywords.values_mut().for_each(bound);
        }
        Value::Array(all) => all.iter_mut().for_each(bound),
        _ => {}
    }
}
